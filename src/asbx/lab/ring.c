/* Pass a token once round all ranks, then let rank 0 tell the way it took. Exit status 1 if a rank was skipped. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME 64

int main(int argc, char **argv)
{
    int rank, size, token = 1, status = 0;
    char mine[NAME] = "", *all = NULL;
    const char *node = getenv("SLURMD_NODENAME");

    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    strncpy(mine, node ? node : "no Slurm node", NAME - 1);

    if (rank > 0) {
        MPI_Recv(&token, 1, MPI_INT, rank - 1, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        token++;
    }
    if (size > 1)
        MPI_Send(&token, 1, MPI_INT, (rank + 1) % size, 0, MPI_COMM_WORLD);
    if (rank == 0 && size > 1)
        MPI_Recv(&token, 1, MPI_INT, size - 1, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);

    if (rank == 0)
        all = malloc((size_t)size * NAME);
    MPI_Gather(mine, NAME, MPI_CHAR, all, NAME, MPI_CHAR, 0, MPI_COMM_WORLD);
    if (rank == 0) {
        for (int i = 0; i < size; i++)
            printf("ring: rank %d of %d on %s\n", i, size, all + (size_t)i * NAME);
        status = token != size;
        printf("ring: %s, the token was passed on %d times by %d ranks\n", status ? "BROKEN" : "closed", token, size);
        free(all);
    }
    /* Over libfabric's tcp provider a rank that finalizes at once may take its last message with it (seen with 8 ranks). */
    MPI_Barrier(MPI_COMM_WORLD);
    MPI_Finalize();
    return status;
}
