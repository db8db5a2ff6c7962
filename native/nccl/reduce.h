// Numbers of NCCL's types and their reduction, element by element in the order of the ranks: bf16 is added in fp32 and rounded once.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace soft {

// NCCL's values; the types that this project sends.
enum class NumberType : int { Int8 = 0, UInt8 = 1, Int32 = 2, UInt64 = 5, Float32 = 7, Float64 = 8, BFloat16 = 9 };
enum class Reduction : int { Sum = 0, Product = 1, Maximum = 2, Minimum = 3, Average = 4 };

bool known(int type);
size_t bytesOf(NumberType type);
void reduce(void* result, const std::vector<const void*>& sources, size_t count, NumberType type, Reduction reduction);

}  // namespace soft
