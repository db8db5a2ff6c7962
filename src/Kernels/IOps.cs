// The op contract. Each idea has a folder under Ops/ with its part of this interface (shapes, what is read, what is
// written), a double-precision oracle, the CPU kernel and the CUDA kernel. All implementations:
//   - write only what the contract names, allocate nothing, and are deterministic;
//   - on the CPU give the same bits for any thread count (work is split along outputs or in fixed chunks, never by thread);
//   - check shapes once per call and throw ArgumentException with expected and found.
namespace OrionNative.Kernels;

/// <summary>Every operation a model, an optimizer or a boundary needs.</summary>
public partial interface IOps : IScratchSizes;

/// <summary>Scratch memory that operations ask their callers for.</summary>
public partial interface IScratchSizes;
