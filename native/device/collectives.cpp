// Warp collectives, computed once for the whole warp when its lanes have met.
// Fragment layouts are those of the PTX manual for mma.sync: lane l has group g = l/4 and position t = l%4.
#include <algorithm>
#include <cstring>

#include "device/block.h"

namespace soft {

namespace {

float fromBf16(uint32_t bits) {
    const uint32_t word = bits << 16;
    float value;
    memcpy(&value, &word, 4);
    return value;
}

// out = A[16,16] * B[16,8], sums in fp32 in the order of k.
void matrixProduct(Warp& w) {
    float a[16][16], b[16][8], c[16][8] = {};
    for (unsigned l = 0; l < 32; l++) {
        const unsigned g = l / 4, t = l % 4;
        for (unsigned h = 0; h < 2; h++) {
            const unsigned k = 2 * t + h, shift = 16 * h;
            a[g][k] = fromBf16(w.in[l][0] >> shift & 0xFFFF);
            a[g + 8][k] = fromBf16(w.in[l][1] >> shift & 0xFFFF);
            a[g][k + 8] = fromBf16(w.in[l][2] >> shift & 0xFFFF);
            a[g + 8][k + 8] = fromBf16(w.in[l][3] >> shift & 0xFFFF);
            b[k][g] = fromBf16(w.in[l][4] >> shift & 0xFFFF);
            b[k + 8][g] = fromBf16(w.in[l][5] >> shift & 0xFFFF);
        }
    }
    for (unsigned m = 0; m < 16; m++)
        for (unsigned k = 0; k < 16; k++)
            for (unsigned n = 0; n < 8; n++) c[m][n] += a[m][k] * b[k][n];
    for (unsigned l = 0; l < 32; l++)
        for (unsigned i = 0; i < 4; i++) memcpy(&w.out[l][i], &c[l / 4 + i / 2 * 8][l % 4 * 2 + i % 2], 4);
}

// Lane 8*m+r gives the address of row r of 8x8 matrix m (16 bytes); lane l gets the pair (l/4, 2*(l%4)) of each matrix,
// or of its transpose.
void loadMatrix(BlockRunner& block, unsigned warp, Warp& w) {
    const uint32_t matrices = w.in[0][1];
    const bool transposed = w.in[0][2];
    uint16_t rows[8][8];
    for (unsigned m = 0; m < matrices; m++) {
        for (unsigned r = 0; r < 8; r++) {
            const unsigned lane = 8 * m + r;
            block.fiber = &block.fibers[warp * 32 + lane];
            const uint32_t offset = w.in[lane][0];
            if (offset % 16)
                raiseFault(MisalignedAddress, format("ldmatrix row at shared offset %u, which is not a multiple of 16", offset),
                           block.fiber->caller);
            const uintptr_t address = block.shared.base() + offset;
            block.shared.access(address, 16, Touch::Read, block.fiber->caller);
            memcpy(rows[r], reinterpret_cast<const void*>(address), 16);
        }
        for (unsigned l = 0; l < 32; l++) {
            const unsigned i = l / 4, j = 2 * (l % 4);
            const uint32_t low = transposed ? rows[j][i] : rows[i][j];
            const uint32_t high = transposed ? rows[j + 1][i] : rows[i][j + 1];
            w.out[l][m] = low | high << 16;
        }
    }
}

void shuffle(BlockRunner& block, unsigned warp, Warp& w, uint32_t mask) {
    for (unsigned l = 0; l < 32; l++) {
        if (!(mask >> l & 1)) continue;
        const uint32_t source = w.in[l][2];
        if (source >= 32 || !(mask >> source & 1)) {
            block.fiber = &block.fibers[warp * 32 + l];
            raiseFault(LaunchFailed, format("shuffle reads lane %u, which the mask %08x does not name", source, mask),
                       block.fiber->caller);
        }
        w.out[l][0] = w.in[source][0];
        w.out[l][1] = w.in[source][1];
    }
}

void vote(Warp& w, uint32_t mask) {
    uint32_t ballot = 0;
    for (unsigned l = 0; l < 32; l++)
        if (mask >> l & 1 && w.in[l][0]) ballot |= 1u << l;
    for (unsigned l = 0; l < 32; l++) w.out[l][0] = ballot;
}

// Orders what the lanes did before, when they are all that the warp has.
void syncWarp(BlockRunner& block, unsigned warp, uint32_t mask) {
    const size_t lanes = std::min<size_t>(32, block.fibers.size() - 32 * warp);
    if (mask == (lanes == 32 ? ~0u : (1u << lanes) - 1)) block.order.warpSync(warp);
}

}  // namespace

void perform(BlockRunner& block, unsigned warp, uint32_t mask, Meeting meeting) {
    Warp& w = block.warps[warp];
    if (meeting >= Meeting::LoadMatrix && mask != ~0u)
        raiseFault(LaunchFailed, format("ldmatrix and mma need all 32 lanes, mask %08x", mask), block.fiber->caller);
    switch (meeting) {
        case Meeting::SyncWarp: syncWarp(block, warp, mask); break;
        case Meeting::Shuffle: shuffle(block, warp, w, mask); break;
        case Meeting::Vote: vote(w, mask); break;
        case Meeting::LoadMatrix: loadMatrix(block, warp, w); break;
        case Meeting::MatrixProduct: matrixProduct(w); break;
    }
}

const uint32_t* meet(Meeting meeting, uint32_t mask, const uint32_t* words, unsigned count, uint32_t line, const void* caller) {
    Fiber& me = *currentFiber();
    if (!(mask >> me.lane & 1))
        raiseFault(LaunchFailed, format("lane %u calls a collective whose mask %08x does not name it", me.lane, mask), caller);
    Warp& w = runner->warps[me.warp];
    for (unsigned i = 0; i < count; i++) w.in[me.lane][i] = words[i];
    me.meeting = meeting;
    me.mask = mask;
    me.line = line;
    me.caller = caller;
    suspend(Wait::Collective);
    return runner->warps[me.warp].out[me.lane];
}

}  // namespace soft
