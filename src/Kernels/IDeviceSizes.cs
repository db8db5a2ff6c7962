// What a memory plan needs to know of a device, without having one: a plan for a card can be made on a machine that has none.
// Every device answers for itself; CudaOnPaper answers for a card from the same functions that CudaOps lays its scratch with.
namespace OrionNative.Kernels;

/// <summary>Sizes and types of a device, as a memory plan reads them.</summary>
public interface IDeviceSizes
{
    /// <summary>For people: "cpu (AVX-512, 2 threads)", "cuda:0 (NVIDIA H200)".</summary>
    string Name { get; }

    /// <summary>Type of weights and activations in products: Float32 on the CPU, BFloat16 on CUDA. Statistics and gradient
    /// accumulators are Float32 everywhere.</summary>
    ElementType ComputeType { get; }

    /// <summary>Bytes that the operations hold for themselves now, beside what <see cref="IDevice.Allocate"/> gave: on the CPU the packed
    /// panels of products, there from the start; on CUDA a workspace that grows with the shapes seen.</summary>
    long WorkspaceBytes { get; }

    /// <summary>True where the device has a memory of its own.</summary>
    bool IsApart { get; }

    /// <summary>What the operations ask for.</summary>
    IScratchSizes Scratch { get; }
}
