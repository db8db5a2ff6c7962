// How good are the checks? Thirty random mutants of the kernels; each must be noticed by the cases of its kernels, as a fault of the device or a
// wrong result. The first thirty found a NaN that the comparison lost and a case without zeros. One that survives is either the same kernel in other words, then it stands below with the reason, or a gap to close.
// A mutant may loop forever or crash, so each runs in a process of its own.
//   ORION_LONG=1 ORION_SEED=7 ./orion test -class OrionNative.Kernels.Tests.Cuda.MutationCampaign
using System.Diagnostics;
using System.IO.Enumeration;
using System.Text.RegularExpressions;
using OrionNative.Kernels.Cuda;

namespace OrionNative.Kernels.Tests.Cuda;

[Collection("softcuda")]
public partial class MutationCampaign
{
    const int Mutations = 30;
    const string Chosen = "ORION_MUTANT", Verdict = "ORION_MUTANT_VERDICT", Survived = "survived", Invalid = "does not compile";
    static readonly TimeSpan _limit = TimeSpan.FromSeconds(150);

    // The line, with what becomes of which token, and why no check can tell; * stands for anything.
    static readonly (string Source, string Line, string Reason)[] _equivalent =
    [
        ("adamw.cu", "if (first [>= -> >] count) return;", "a thread that starts at the end has no elements either way"),
        ("adamw.cu", "if (count - first >= [4 -> 5]) {", "four elements one by one"),
        ("adamw.cu", "if (count - first [>= -> >] 4) {", "four elements one by one"),
        ("adamw.cu", "h = (h ^ (h [>> -> <<] 13)) * 0xC2B2AE35u;", "other random bits, which round with as little bias"),
        ("adamw.cu", "*l[4] = {*[0 -> *1]*", "the low word is read before it is used, or it is not used"),
        ("attention_cached.cu", "float q[8], o[8] = {*[0.0f -> 1.0f]*", "the first key shrinks it by 2^(Lowest - top), which is 0; a group without keys weighs as little"),
        ("classifier.cu", "*there = next < chunks ? * : make_uint4(*[0 -> *1]*", "a second chunk past the row is not used"),
        ("classifier.cu", "const float target_logit = * : [0.0f -> 1.0f];", "without a target the loss is 0, whatever that is"),
        ("clip.cu", "*norm [<= -> <] LargestDouble*", "no square root is that large"),
        ("clip.cu", "*norm [> -> >=] limit*", "where they are equal their quotient is 1"),
        ("code.cu", "for (int c = 8 * lane; c < columns; c += 8 * [32 -> 31]) {", "steps overlap by eight columns; a maximum may see them twice"),
        ("code.cu", "for (int p = 8 * threadIdx.x; p [< -> <=] bytes; p += 8 * blockDim.x) {", "a turn that starts at the end makes no bytes"),
        ("elementwise.cu", "constexpr int Vectors = [8 -> 9] * sizeof(T) / sizeof(Vector);", "1 or 2 and an eighth of it, cut to a whole number"),
        ("elementwise.cu", "Vector kept[[Vectors] -> [(Vectors) + 1]];", "one place more, which nobody uses"),
        ("embedding.cu", "float sums[[8 -> 9]*", "one place more, which nobody uses"),
        ("embedding.cu", "*w < (int)blockDim.x / [32 -> 31]; w++) {", "32 n / 31 is n for the 8 warps of a block at most"),
        ("muon.cu", "SHARED(double, partials, Threads / [32 -> 31]);", "256 / 31 is 8 too"),
        ("reduction.cu", "[__syncthreads(); -> ;]", "the first of the two is for blocks that sum more than once, and none here does; without the other a case fails"),
        ("reduction.cu", "for (long long i = start + 8 * threadIdx.x; i [< -> <=] end; i += 8 * blockDim.x) {", "a turn that starts at the end adds zeros"),
        ("reduction.cu", "SHARED(double, partials, [32 -> 3*]);", "blocks have 8 warps"),
        ("rmsnorm.cu", "*? load_8(* : make_uint4(*[0 -> *1]*", "what lies past the row is left out later"),
        ("rmsnorm.cu", "for (int i = 0; i [< -> <=] ChunksMost; i++) {", "a fifth chunk of a thread lies past the row"),
        ("rmsnorm.cu", "if (threadIdx.x == [0 -> 1]) rstd[blockIdx.x] = scale;", "every thread has the same"),
        ("rotary.cu", "*sines[j] [* -> /] sine_sign;", "the sign is 1 or -1"),
        ("topk.cu", "for (int w = 0; w < Threads / [32 -> 33]; w++) before += w < warp ? sums[w] : 0u;", "warps before this one are below 7"),
    ];

    [Fact]
    public void RandomMutants_OfEveryKernel_AreNoticed()
    {
        SoftwareCuda.SkipIfAbsent();
        if (Environment.GetEnvironmentVariable("ORION_LONG") != "1")
        {
            Assert.Skip("thirty mutants take about ten minutes; fix: ORION_LONG=1 runs them, ORION_SEED chooses others");
        }

        int seed = int.TryParse(Environment.GetEnvironmentVariable("ORION_SEED"), out int chosen) ? chosen : 1;
        Assert.Equal(Survived, Run(new Mutant(KernelSources.Names[0], 0, "", "")));
        List<string> survivors = [];
        int done = 0;
        foreach (Mutant mutant in Mutants.Draw(seed))
        {
            string line = mutant.Shown(KernelSources.Read(mutant.Source)), verdict = Run(mutant);
            if (verdict == Invalid)
            {
                continue;
            }

            string said = $"{mutant.Source}: {line}";
            TestContext.Current.TestOutputHelper?.WriteLine($"{verdict}: {said}");
            if (verdict == Survived && !_equivalent.Any(e => e.Source == mutant.Source && FileSystemName.MatchesSimpleExpression(e.Line, line, ignoreCase: false)))
            {
                survivors.Add(said);
            }

            if (++done == Mutations)
            {
                break;
            }
        }

        Assert.True(survivors.Count == 0, $"seed {seed}: {survivors.Count} of {Mutations} mutants survived\n" + string.Join('\n', survivors));
    }

    static string Run(Mutant mutant)
    {
        string verdict = Path.GetTempFileName();
        ProcessStartInfo start = new("dotnet", [typeof(MutationCampaign).Assembly.Location, "-method", $"{typeof(MutationCampaign).FullName}.{nameof(Mutant_OfTheEnvironment_IsTried)}"])
        {
            RedirectStandardOutput = true,
        };
        start.Environment[Chosen] = $"{mutant.Source}|{mutant.Position}|{mutant.Before.Length}|{mutant.After}";
        start.Environment[Verdict] = verdict;
        using Process process = Process.Start(start)!;
        Task<string> output = process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        if (!process.WaitForExit(_limit))
        {
            process.Kill(entireProcessTree: true);
            return $"noticed: not done in {_limit.TotalSeconds} s";
        }

        string said = File.ReadAllText(verdict);
        File.Delete(verdict);
        return said.Length > 0 ? said : "noticed: the process crashed";
    }

    [Fact]
    public void Mutant_OfTheEnvironment_IsTried()
    {
        string chosen = Environment.GetEnvironmentVariable(Chosen) ?? "";
        if (chosen.Length == 0)
        {
            Assert.Skip("runs in the processes that the campaign starts; fix: ORION_LONG=1 runs the campaign");
        }

        string[] parts = chosen.Split('|', 4);
        string path = Environment.GetEnvironmentVariable(Verdict)!;
        File.WriteAllText(path, Try(parts[0], int.Parse(parts[1]), int.Parse(parts[2]), parts[3]));
    }

    static string Try(string source, int position, int length, string after)
    {
        string text = KernelSources.Read(source);
        Mutant mutant = new(source, position, text.Substring(position, length), after);
        string cache = Directory.CreateTempSubdirectory("orion-mutant-").FullName;
        AppDomain.CurrentDomain.ProcessExit += (_, _) => Directory.Delete(cache, recursive: true);
        CudaRuntimeCompiler compiler = new(CudaLibraries.Software.Nvrtc, new CubinCache(cache), name => name == source ? mutant.Apply(text) : KernelSources.Read(name));
        CudaContext context = CudaContext.Open("softcuda:1");
        CudaStream stream = new(context);
        try
        {
            compiler.Compile(source, "sm_80");
        }
        catch (KernelCompilationException)
        {
            return Invalid;
        }

        // A name, or one made for a width of heads.
        string[] kernels = [.. KernelCases.Names.Where(name => text.Contains($" {name}(", StringComparison.Ordinal) || text.Contains($" {HeadWidth().Replace(name, "_d##D")}(", StringComparison.Ordinal))];
        Assert.NotEmpty(kernels);
        foreach (string name in kernels)
        {
            for (int variant = 0, variants = 1; variant < variants; variant++)
            {
                KernelCase made = KernelCases.Make(name, variant, size: 0, context, compiler, stream);
                variants = made.Variants;
                try
                {
                    made.Launch();
                    stream.Synchronize();
                    foreach (KernelResult result in made.Results())
                    {
                        if (!(result.WorstRatio() <= 1))
                        {
                            return $"noticed: {name} {made.Shape}: {result.Name} is wrong";
                        }
                    }
                }
                catch (CudaException fault)
                {
                    return $"noticed: {fault.Message}";
                }
            }
        }

        return Survived;
    }

    [GeneratedRegex(@"_d\d+$")]
    private static partial Regex HeadWidth();
}
