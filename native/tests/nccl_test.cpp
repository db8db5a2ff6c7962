// Three ranks on three devices: sums in the order of the ranks, a ring of sends and receives, and what must be refused.
#include <functional>
#include <thread>

#include "tests/api.h"

struct UniqueId {
    char bytes[128];
};
extern "C" {
int ncclGetUniqueId(UniqueId*);
int ncclCommInitRank(void**, int, UniqueId, int);
int ncclCommDestroy(void*);
int ncclCommAbort(void*);
int ncclAllReduce(const void*, void*, size_t, int, int, void*, void*);
int ncclReduceScatter(const void*, void*, size_t, int, int, void*, void*);
int ncclAllGather(const void*, void*, size_t, int, void*, void*);
int ncclBroadcast(const void*, void*, size_t, int, int, void*, void*);
int ncclSend(const void*, size_t, int, int, void*, void*);
int ncclRecv(void*, size_t, int, int, void*, void*);
int ncclGroupStart();
int ncclGroupEnd();
const char* ncclGetLastError(void*);
}

namespace {

constexpr int Ranks = 3, Float32 = 7, Sum = 0;

void onEveryRank(const std::function<void(int)>& body) {
    std::vector<std::thread> threads;
    for (int rank = 0; rank < Ranks; rank++)
        threads.emplace_back([&body, rank] {
            useDevice(rank);
            body(rank);
        });
    for (std::thread& t : threads) t.join();
}

const void* source(uintptr_t address) { return reinterpret_cast<const void*>(address); }
void* target(uintptr_t address) { return reinterpret_cast<void*>(address); }

}  // namespace

int main() {
    UniqueId id, other, unfinished;
    CHECK(ncclGetUniqueId(&id) == 0 && ncclGetUniqueId(&other) == 0 && ncclGetUniqueId(&unfinished) == 0);
    onEveryRank([&](int rank) {
        void *comm, *stream;
        CHECK(ncclCommInitRank(&comm, Ranks, id, rank) == 0);
        CHECK(cuStreamCreate(&stream, 1) == 0);
        // 2^24 + 1 + 1 in fp32 depends on the order: in that of the ranks it stays 2^24.
        const uintptr_t x = upload(std::vector<float>(Ranks, rank == 0 ? 16777216.0f : 1.0f)), y = upload(std::vector<float>(Ranks));
        CHECK(ncclAllReduce(source(x), target(y), Ranks, Float32, Sum, comm, stream) == 0);
        CHECK(cuStreamSynchronize(stream) == 0);
        for (float value : download<float>(y, Ranks)) CHECK(value == 16777216.0f);

        const uintptr_t mine = upload(std::vector<float>{10.0f * static_cast<float>(rank)});
        CHECK(ncclAllGather(source(mine), target(y), 1, Float32, comm, stream) == 0 && cuStreamSynchronize(stream) == 0);
        CHECK((download<float>(y, Ranks) == std::vector<float>{0, 10, 20}));
        CHECK(ncclReduceScatter(source(y), target(mine), 1, Float32, Sum, comm, stream) == 0 && cuStreamSynchronize(stream) == 0);
        CHECK(download<float>(mine, 1)[0] == 30.0f * static_cast<float>(rank));
        CHECK(ncclBroadcast(source(mine), target(x), 1, Float32, 2, comm, stream) == 0 && cuStreamSynchronize(stream) == 0);
        CHECK(download<float>(x, 1)[0] == 60.0f);

        // Round the ring: without the group every rank would wait in its send.
        CHECK(ncclGroupStart() == 0);
        CHECK(ncclSend(source(mine), 1, Float32, (rank + 1) % Ranks, comm, stream) == 0);
        CHECK(ncclRecv(target(x), 1, Float32, (rank + Ranks - 1) % Ranks, comm, stream) == 0);
        CHECK(ncclGroupEnd() == 0 && cuStreamSynchronize(stream) == 0);
        CHECK(download<float>(x, 1)[0] == 30.0f * static_cast<float>((rank + Ranks - 1) % Ranks));

        // One rank is of another opinion about the length.
        CHECK(ncclAllReduce(source(x), target(y), rank == 1 ? 2 : 1, Float32, Sum, comm, stream) == 0);
        CHECK(cuStreamSynchronize(stream) != 0);
        CHECK_TEXT(softGetLastErrorText(), "NCCL ranks disagree: rank 0 calls ncclAllReduce of 1 elements");
        CHECK(ncclCommDestroy(comm) == 0 && ncclCommDestroy(comm) != 0);
        CHECK(cuDevicePrimaryCtxReset_v2(rank) == 0);
    });

    onEveryRank([&](int rank) {
        void *comm, *stream;
        CHECK(ncclCommInitRank(&comm, Ranks, other, rank) == 0 && cuStreamCreate(&stream, 1) == 0);
        const uintptr_t x = upload(std::vector<float>(4));
        if (rank == 0) {
            CHECK(ncclSend(source(x), 5, Float32, 1, comm, stream) == 0);
            CHECK(cuStreamSynchronize(stream) != 0);
            CHECK_TEXT(softGetLastErrorText(), "past the end of allocation");
            CHECK(ncclAllReduce(source(x), target(x), 1, 6, Sum, comm, stream) != 0);
            CHECK_TEXT(ncclGetLastError(nullptr), "data type 6");
        } else if (rank == 1) {
            // A receive whose send never comes ends when the communicator is aborted.
            CHECK(ncclRecv(target(x), 4, Float32, 0, comm, stream) == 0);
            CHECK(ncclCommAbort(comm) == 0);
            CHECK(cuStreamSynchronize(stream) != 0);
            CHECK_TEXT(softGetLastErrorText(), "was aborted");
        }
        CHECK(cuDevicePrimaryCtxReset_v2(rank) == 0);
        if (rank != 1) CHECK(ncclCommDestroy(comm) == 0);
    });

    std::thread([&] {
        useDevice(0);
        void* comm;
        std::thread twin([&] {
            useDevice(0);
            void* same;
            CHECK(ncclCommInitRank(&same, 2, unfinished, 1) != 0);
        });
        CHECK(ncclCommInitRank(&comm, 2, unfinished, 0) != 0);
        twin.join();
        CHECK_TEXT(ncclGetLastError(nullptr), "duplicate GPU");
    }).join();
    return 0;
}
