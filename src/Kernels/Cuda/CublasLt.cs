// Matrix products through cuBLASLt, row-major:  c = alpha * op(a) * op(b) + beta * c.  cuBLASLt thinks in columns, so it is
// asked for c^T = op(b)^T * op(a)^T, which needs no copy. Descriptions, layouts and the algorithm of a shape are made once and
// kept; a product in steady state allocates nothing and asks for nothing. With choices given, a shape that is met for the first time
// on this machine times the library's eight best algorithms on its own operands into memory of its own; else the library's best is used.
using OrionNative.Kernels.Cuda.Interop;

namespace OrionNative.Kernels.Cuda;

/// <summary>Products on one context. Not for several threads at once, as the workspace is one.</summary>
sealed unsafe class CublasLt : IDisposable
{
    /// <summary>What Hopper's algorithms ask for; older cards use less of it.</summary>
    public const int WorkspaceBytes = 32 << 20;

    const int AlignmentBytes = 16;
    const int CandidatesMost = 8;
    const int Warmups = 2, Samples = 5;
    readonly CudaContext _context;
    readonly CublasLtLibrary _library;
    readonly CudaDeviceVariable<byte> _workspace;
    readonly Dictionary<Shape, Plan> _plans = [];
    readonly ProductChoices? _choices;
    nint _handle;

    public CublasLt(CudaContext context, ProductChoices? choices = null)
    {
        (_context, _choices) = (context, choices);
        _library = context.Libraries.CublasLt;
        context.Enter();
        nint handle;
        Check(_library.cublasLtCreate(&handle), "cublasLtCreate");
        _handle = handle;
        _workspace = new CudaDeviceVariable<byte>(context, WorkspaceBytes);
    }

    /// <summary>Number of shapes met so far.</summary>
    public int PlanCount => _plans.Count;

    /// <summary>c = alpha * op(a) * op(b) + beta * c.</summary>
    public void Multiply(CudaStream stream, Tensor a, bool transposeA, Tensor b, bool transposeB, Tensor c, float alpha, float beta) =>
        Multiply(stream, a, transposeA, b, transposeB, c, c, alpha, beta);

    /// <summary>d[M,N] = alpha * op(a)[M,K] * op(b)[K,N] + beta * c[M,N], at least 0 with relu. a and b have one type, Float32 or BFloat16; c and d either, but the
    /// same. Sums are Float32, the cut comes before the rounding. Rows may be strided; addresses are multiples of 16 bytes.</summary>
    /// <exception cref="ArgumentException">Shapes or types do not fit.</exception>
    public void Multiply(
        CudaStream stream, Tensor a, bool transposeA, Tensor b, bool transposeB, Tensor c, Tensor d, float alpha, float beta, bool relu = false)
    {
        Shape shape = new(
            a.Type, a.Rows, a.Columns, a.Stride, transposeA, b.Type, b.Rows, b.Columns, b.Stride, transposeB, d.Type, d.Rows, d.Columns, d.Stride, c.Stride, relu);
        _context.Enter();
        if (!_plans.TryGetValue(shape, out Plan plan))
        {
            CheckOperands(a, transposeA, b, transposeB, d);
            plan = MakePlan(shape, stream, a, b, d);
            _plans.Add(shape, plan);
        }

        if (c.Type != d.Type || c.Rows != d.Rows || c.Columns != d.Columns || (c.Address & (AlignmentBytes - 1)) != 0)
        {
            throw new ArgumentException($"{c} cannot be added to a product that is {d}: expected its type and shape, at a multiple of {AlignmentBytes} bytes");
        }

        CublasLtAlgorithm algorithm = plan.Algorithm;
        Check(
            _library.cublasLtMatmul(
                _handle, plan.Description, &alpha, (ulong)b.Address, plan.B, (ulong)a.Address, plan.A, &beta, (ulong)c.Address, plan.C,
                (ulong)d.Address, plan.D, &algorithm, _workspace.Address, WorkspaceBytes, stream.Handle),
            "cublasLtMatmul", in shape);
    }

    public void Dispose()
    {
        if (_handle == 0)
        {
            return;
        }

        foreach (Plan plan in _plans.Values)
        {
            Check(_library.cublasLtMatmulDescDestroy(plan.Description), "cublasLtMatmulDescDestroy");
            foreach (nint layout in (ReadOnlySpan<nint>)[plan.A, plan.B, plan.C, plan.D])
            {
                Check(_library.cublasLtMatrixLayoutDestroy(layout), "cublasLtMatrixLayoutDestroy");
            }
        }

        _plans.Clear();
        Check(_library.cublasLtDestroy(_handle), "cublasLtDestroy");
        _handle = 0;
        _workspace.Dispose();
    }

    static void CheckOperands(Tensor a, bool transposeA, Tensor b, bool transposeB, Tensor c)
    {
        (int m, int k) = transposeA ? (a.Columns, a.Rows) : (a.Rows, a.Columns);
        (int kb, int n) = transposeB ? (b.Columns, b.Rows) : (b.Rows, b.Columns);
        if (k != kb || c.Rows != m || c.Columns != n)
        {
            throw new ArgumentException($"a product of [{m}, {k}] and [{kb}, {n}] does not give [{c.Rows}, {c.Columns}]");
        }

        if (a.Type != b.Type || TypeOf(a.Type) < 0 || TypeOf(c.Type) < 0)
        {
            throw new ArgumentException($"a product of {a.Type} and {b.Type} into {c.Type}; operands have one type, Float32 or BFloat16");
        }

        if (((a.Address | b.Address | c.Address) & (AlignmentBytes - 1)) != 0)
        {
            throw new ArgumentException($"operands of a product must lie at multiples of {AlignmentBytes} bytes");
        }
    }

    static int TypeOf(ElementType type) => type switch
    {
        ElementType.Float32 => CublasLtLibrary.Real32F,
        ElementType.BFloat16 => CublasLtLibrary.Real16BF,
        _ => -1,
    };

    Plan MakePlan(Shape shape, CudaStream stream, Tensor operandA, Tensor operandB, Tensor result)
    {
        nint description, preference;
        Check(_library.cublasLtMatmulDescCreate(&description, CublasLtLibrary.Compute32F, CublasLtLibrary.Real32F), "cublasLtMatmulDescCreate");
        int first = shape.TransposeB ? 1 : 0, second = shape.TransposeA ? 1 : 0;
        Check(_library.cublasLtMatmulDescSetAttribute(description, CublasLtLibrary.DescriptionTransposeA, &first, sizeof(int)), "cublasLtMatmulDescSetAttribute", "transpose of the first operand");
        Check(_library.cublasLtMatmulDescSetAttribute(description, CublasLtLibrary.DescriptionTransposeB, &second, sizeof(int)), "cublasLtMatmulDescSetAttribute", "transpose of the second operand");
        int epilogue = shape.Relu ? CublasLtLibrary.EpilogueRelu : CublasLtLibrary.EpilogueDefault;
        Check(_library.cublasLtMatmulDescSetAttribute(description, CublasLtLibrary.DescriptionEpilogue, &epilogue, sizeof(int)), "cublasLtMatmulDescSetAttribute", "epilogue");
        nint a = Layout(shape.TypeA, shape.RowsA, shape.ColumnsA, shape.StrideA);
        nint b = Layout(shape.TypeB, shape.RowsB, shape.ColumnsB, shape.StrideB);
        nint c = Layout(shape.TypeD, shape.RowsD, shape.ColumnsD, shape.StrideC), d = Layout(shape.TypeD, shape.RowsD, shape.ColumnsD, shape.StrideD);
        Check(_library.cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
        nuint workspace = WorkspaceBytes;
        Check(_library.cublasLtMatmulPreferenceSetAttribute(preference, CublasLtLibrary.PreferenceWorkspaceBytes, &workspace, (nuint)sizeof(nuint)), "cublasLtMatmulPreferenceSetAttribute", "workspace bytes");
        uint alignment = AlignmentBytes;
        for (int attribute = CublasLtLibrary.PreferenceAlignmentA; attribute <= CublasLtLibrary.PreferenceAlignmentD; attribute++)
        {
            Check(_library.cublasLtMatmulPreferenceSetAttribute(preference, attribute, &alignment, sizeof(uint)), "cublasLtMatmulPreferenceSetAttribute", "alignment");
        }

        CublasLtHeuristic* candidates = stackalloc CublasLtHeuristic[CandidatesMost];
        int found;
        Check(_library.cublasLtMatmulAlgoGetHeuristic(_handle, description, b, a, c, d, preference, CandidatesMost, candidates, &found), "cublasLtMatmulAlgoGetHeuristic", in shape);
        Check(_library.cublasLtMatmulPreferenceDestroy(preference), "cublasLtMatmulPreferenceDestroy");
        int usable = 0;
        for (int i = 0; i < found; i++)
        {
            if (candidates[i].Status == 0)
            {
                candidates[usable++] = candidates[i];
            }
        }

        if (usable == 0)
        {
            throw new InvalidOperationException($"{_library.Path} has no algorithm for {shape.Key}");
        }

        Plan plan = new(description, a, b, c, d, candidates[0].Algorithm);
        if (_choices is null)
        {
            return plan;
        }

        if (!_choices.TryFind(shape.Key, out CublasLtAlgorithm algorithm))
        {
            algorithm = candidates[Fastest(plan, new(candidates, usable), stream, operandA, operandB, result)].Algorithm;
            _choices.Add(shape.Key, algorithm);
        }

        return plan with { Algorithm = algorithm };
    }

    /// <summary>Times candidates on the operands themselves; the results go elsewhere, so that c stays as it is. One that the library proposes and
    /// then refuses is out of the race.</summary>
    int Fastest(Plan plan, ReadOnlySpan<CublasLtHeuristic> candidates, CudaStream stream, Tensor a, Tensor b, Tensor c)
    {
        using CudaDeviceVariable<byte> elsewhere = new(_context, (long)c.Rows * c.Stride * c.ElementBytes);
        using CudaEvent start = new(_context, timing: true), end = new(_context, timing: true);
        float one = 1, zero = 0;
        List<float[]> milliseconds = [];
        int refusal = 0;
        foreach (CublasLtHeuristic candidate in candidates)
        {
            CublasLtAlgorithm algorithm = candidate.Algorithm;
            float[] samples = new float[Samples];
            for (int i = -Warmups; i < Samples; i++)
            {
                start.Record(stream);
                int status = _library.cublasLtMatmul(
                    _handle, plan.Description, &one, (ulong)b.Address, plan.B, (ulong)a.Address, plan.A, &zero, elsewhere.Address, plan.D,
                    elsewhere.Address, plan.D, &algorithm, _workspace.Address, WorkspaceBytes, stream.Handle);
                if (status != 0)
                {
                    refusal = status;
                    Array.Fill(samples, float.PositiveInfinity);
                    break;
                }

                end.Record(stream);
                end.Synchronize();
                samples[Math.Max(0, i)] = end.MillisecondsSince(start);
            }

            milliseconds.Add(samples);
        }

        int fastest = ProductChoices.Fastest(milliseconds);
        Check(float.IsPositiveInfinity(milliseconds[fastest][0]) ? refusal : 0, "cublasLtMatmul", "every candidate");
        return fastest;
    }

    nint Layout(ElementType type, int rows, int columns, int stride)
    {
        nint layout;
        Check(_library.cublasLtMatrixLayoutCreate(&layout, TypeOf(type), (ulong)columns, (ulong)rows, stride), "cublasLtMatrixLayoutCreate", "leading dimension", stride);
        return layout;
    }

    // The texts are built only when a call failed: in steady state a check is a comparison.
    void Check(int status, string call, string argument = "")
    {
        if (status != 0)
        {
            throw Failed(status, call, argument);
        }
    }

    void Check(int status, string call, string argument, long value)
    {
        if (status != 0)
        {
            throw Failed(status, call, $"{argument} {value}");
        }
    }

    void Check(int status, string call, in Shape shape)
    {
        if (status != 0)
        {
            throw Failed(status, call, shape.Key);
        }
    }

    InvalidOperationException Failed(int status, string call, string arguments) =>
        new($"{call}({arguments}) failed on {_context.Selector}: {_library.NameOf(status)} ({status}), {_library.MeaningOf(status)}");

    readonly record struct Plan(nint Description, nint A, nint B, nint C, nint D, CublasLtAlgorithm Algorithm);

    readonly record struct Shape(
        ElementType TypeA, int RowsA, int ColumnsA, int StrideA, bool TransposeA,
        ElementType TypeB, int RowsB, int ColumnsB, int StrideB, bool TransposeB,
        ElementType TypeD, int RowsD, int ColumnsD, int StrideD, int StrideC, bool Relu)
    {
        /// <summary>One word that says all of it.</summary>
        public string Key =>
            $"{TypeA}[{RowsA},{ColumnsA}:{StrideA}]{(TransposeA ? "T" : "")}*{TypeB}[{RowsB},{ColumnsB}:{StrideB}]{(TransposeB ? "T" : "")}={TypeD}[{RowsD},{ColumnsD}:{StrideD}]{(StrideC == StrideD ? "" : $"+{StrideC}")}{(Relu ? "R" : "")}";
    }
}
