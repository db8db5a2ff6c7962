// A kernel launch: the grid's blocks are handed out by one counter to the OS threads that run blocks.
#pragma once
#include "device/block.h"

namespace soft {

// Runs every block and returns when all are done or a fault stopped them: what the launch touched.
Touched runGrid(BlockJob job);

// Order in which the blocks of a grid, the warps of a block and the lanes of a warp get their turn; 0 is ascending. Tests run several.
void setScheduleSeed(unsigned seed);
unsigned scheduleSeed();

}  // namespace soft
