// Boundaries on the CPU: the code is small beside the products' other operands, so what is fused on a card is a pass of its own here.
namespace OrionNative.Kernels.Cpu;

sealed unsafe partial class CpuOps
{
    public void CodeEncode(Tensor x, Tensor weight, Tensor residual, Tensor code)
    {
        Copy(residual, code);
        MatrixProduct(x, false, weight, true, code, 1, 1);
    }

    public void CodeDecode(Tensor code, Tensor weight, Tensor output)
    {
        MatrixProduct(code, false, weight, true, output, 1, 0);
        ReluForward(output, output);
    }
}
