// perf/gpu/run.sh and what it calls, with an engine and a card of a few lines of shell: what fails, hangs or is killed loses nothing that came before,
// nothing runs twice, and what was found lands in the table of docs/gpu-status.md.
using System.Diagnostics;
using System.Globalization;
using System.Text.Json;

namespace OrionNative.Kernels.Tests.Cuda;

public partial class GuideTests
{
    [Theory]
    [InlineData("", 0, "perf/gpu/run.sh pack")]
    [InlineData("measure --devise cuda:0", 2, "unknown option --devise; there are --device, --out, --bring, --size, --steps, --minutes, --parts, --limit, --again")]
    [InlineData("measure --parts bensh", 2, "there is no part 'bensh'; there are doctor check check-each bench")]
    [InlineData("measure --out {0}", 3, "fix: run 'perf/gpu/run.sh pack' where the SDK is")]
    public void GpuScript_WithoutItsPackage_SaysWhatToDo(string arguments, int status, string expected)
    {
        string results = Directory.CreateTempSubdirectory("orion-gpu-").FullName;
        string script = Path.Combine(RealNvrtcTests.Root(), "perf", "gpu", "run.sh");
        using Process process = Process.Start(new ProcessStartInfo("bash", [script, .. string.Format(CultureInfo.InvariantCulture, arguments, results).Split(' ', StringSplitOptions.RemoveEmptyEntries)])
        {
            RedirectStandardError = true,
            RedirectStandardOutput = true,
            WorkingDirectory = results,
        })!;
        string said = process.StandardOutput.ReadToEnd() + process.StandardError.ReadToEnd();
        process.WaitForExit();
        Directory.Delete(results, recursive: true);
        Assert.Contains(expected, said, StringComparison.Ordinal);
        Assert.Equal(status, process.ExitCode);
    }

    // doctor answers, check fails, bench and training hang.
    [Fact]
    public void GpuScript_PartsThatFailAndHang_StopNoOther()
    {
        using GpuPackage package = new("case \"$1 $2\" in doctor*) exit 0 ;; *check) exit 7 ;; *) echo $$ >>pids; exec sleep 1000 ;; esac");
        (int status, string said) = package.Measure("--device softcuda:0 --limit 1", "doctor check bench train-124m");
        Assert.Equal(1, status);
        Assert.All(
            (string[])["passed  doctor", "FAILED check with status 7", "stopped after 1 s", "FAILED bench", "FAILED train-124m", "results.tar.gz"],
            text => Assert.Contains(text, said, StringComparison.Ordinal));
        Assert.True(File.Exists(package.Result("results.tar.gz")));
        string[] hung = File.ReadAllLines(package.In("pids"));
        Assert.Equal(2, hung.Length);
        Assert.All(hung, id => Assert.False(Works(id), $"process {id} of a stopped part goes on"));
    }

    // The call is killed, with everything that it started, while bench runs; the next one takes bench up again and nothing before it.
    [Fact]
    public void GpuScript_KilledInTheMiddle_GoesOnWhereItStood()
    {
        using GpuPackage package = new("""
            echo "$*" >>calls
            case "$1 $2" in
                *check) echo 'ok   fine   one' >&2 ;;
                *bench) [ -e again ] || { touch again; kill -KILL $(ps -o pid= -s "$(ps -o sid= -p $$ | tr -d ' ')"); } ;;
            esac
            """);
        (int killed, _) = package.Measure("--device softcuda:0", "doctor check bench parity", ownGroup: true);
        Assert.Equal(137, killed);
        Assert.Contains("check passed", File.ReadAllText(package.Result("journal.txt")), StringComparison.Ordinal);
        Assert.Contains("bench: MISSING", File.ReadAllText(package.Result("summary.md")), StringComparison.Ordinal);

        (_, string said) = package.Measure("--device softcuda:0 --bring brought", "doctor check bench");
        string[] calls = File.ReadAllLines(package.In("calls"));
        Assert.Equal([1, 1, 2], ((string[])["doctor", "kernels check", "kernels bench"]).Select(name => calls.Count(call => call.StartsWith(name, StringComparison.Ordinal))));
        Assert.Contains("check ended in an earlier call", said, StringComparison.Ordinal);
        string summary = File.ReadAllText(package.In("brought/summary.md"));
        Assert.Contains("| kernels that agree with the oracle | 1 | all | yes |", summary, StringComparison.Ordinal);
        Assert.Contains("parity: MISSING", summary, StringComparison.Ordinal);
        Assert.DoesNotContain("bench: ", summary, StringComparison.Ordinal);
        Assert.Equal(3, Directory.GetFiles(package.In("brought")).Length);
    }

    // With no time for anything, nothing begins and nothing counts as failed.
    [Fact]
    public void GpuScript_PartThatDoesNotFit_WaitsForTheNextCall()
    {
        using GpuPackage package = new("echo \"$*\" >>calls");
        (int status, string said) = package.Measure("--device softcuda:0 --minutes 0", "doctor check");
        Assert.Equal(0, status);
        Assert.Contains("WAITS   check", said, StringComparison.Ordinal);
        Assert.False(File.Exists(package.In("calls")));
        (_, said) = package.Measure("--device softcuda:0", "doctor check");
        Assert.Contains("passed  check", said, StringComparison.Ordinal);
    }

    // A card of shell scripts: check ends at its second kernel, bench is cut off after a row, and Nsight Systems has seen 1000 kernels of 8 us, 92 us
    // apart in the first half, which is the warm-up, and 2 us apart after it.
    [Fact]
    public void GpuScript_OnACard_KeepsWhatCameBeforeAFailure()
    {
        using GpuPackage package = new("""
            echo "$*" >>calls
            case "$*" in
                "kernels check --device cuda:0 --json") echo 'ok   fine   one' >&2; echo 'FAIL broken  sticks' >&2; exit 1 ;;
                *"--kernel broken") exit 1 ;;
                *"--kernel hidden") echo 'ok   hidden one' >&2 ;;
                "kernels bench"*) echo 'rotary    B=1 T=4: 31.5 us, 3000.0 GB/s = 75 % of copy (4000.0 GB/s), 0.2 GFLOP/s' >&2; exit 137 ;;
                train*)
                    while [ "$1" != --out ]; do shift; done
                    mkdir -p "$2"
                    for i in $(seq 30); do echo '{"step":1,"tokensPerSecond":1000,"mfu":0.5}'; done >"$2/metrics.jsonl" ;;
            esac
            """);
        File.WriteAllText(package.In("kernels"), "fine\nbroken\nhidden\n");
        package.Tool("nsys", """
            [ "$1" = export ] || exit 0
            python3 -c '
            import sqlite3, sys
            data = sqlite3.connect(sys.argv[1])
            data.execute("CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INT, \"end\" INT)")
            at = 0
            for i in range(1000):
                data.execute("INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (?, ?)", (at, at + 8000))
                at += 100000 if i < 500 else 10000
            data.commit()' "$7"
            """);
        package.Tool("compute-sanitizer", "case $2 in memcheck) echo '========= ERROR SUMMARY: 3 errors' >\"$6\" ;; *) echo '========= Error: Device not supported.' >\"$6\" ;; esac; exit 9");
        package.Tool("nvidia-smi", "echo 'A card of paper'");
        (int status, string said) = package.Measure("--device cuda:0 --limit 20", "check check-each bench train-124m trace sanitizer-memcheck sanitizer-racecheck torch-124m");
        string records = File.ReadAllText(package.Result("records.jsonl")), calls = File.ReadAllText(package.In("calls"));
        Assert.Equal(1, status);
        Assert.All(
            (string[])["FAILED check ", "FAILED check-each", "FAILED bench", "FAILED sanitizer-memcheck", "ERROR SUMMARY: 3 errors", "SKIPPED sanitizer-racecheck: compute-sanitizer refuses this device",
                "SKIPPED torch-124m", "| launch gaps, 124m | 19.96% of the step | below 2 % | NO |", "| 124m, B=16 T=1024 x1: MFU | 50.0% (1000 tokens/s) | 40% | yes |", "| `rotary` | 75% of copies | 88% | NO |",
                "| kernels that agree with the oracle | 2; NOT broken | all | NO |", "passed  train-124m"],
            text => Assert.Contains(text, said, StringComparison.Ordinal));
        Assert.Contains("--kernel broken", calls, StringComparison.Ordinal);
        Assert.Contains("--kernel hidden", calls, StringComparison.Ordinal);
        Assert.DoesNotContain("--kernel fine", calls, StringComparison.Ordinal);
        Assert.Contains("\"scenario\": \"gpu.kernels.rotary\", \"shape\": \"B=1 T=4\", \"timeUsMedian\": 31.5, \"ratio\": 0.75", records, StringComparison.Ordinal);
        Assert.Contains("\"device\": \"A card of paper\"", records, StringComparison.Ordinal);

        string page = package.In("status.md");
        File.WriteAllText(page, "words\n<!-- measured -->\nNothing.\n<!-- end of measured -->\n| `fine` | a.cu | yes | never |\n| `broken` | a.cu | yes | never |\n");
        Assert.Equal(0, GpuPackage.Python(package.In("gather.py"), "status", package.Result(""), page).Status);
        string[] lines = File.ReadAllLines(page);
        Assert.Matches(@"^\| `fine` \| a\.cu \| yes \| \d{4}-\d\d-\d\d, A card of paper \|$", lines[^2]);
        Assert.Equal("| `broken` | a.cu | yes | never |", lines[^1]);
        Assert.Contains("| launch gaps, 124m | 19.96% of the step | below 2 % | NO |", lines);
        Assert.DoesNotContain("Nothing.", lines);
    }

    // 500 steps of four kernels of 8 us, 2 us apart; after each step the host waits, and the card with it for 18 us.
    [Fact]
    public void GpuTrace_OfCupti_SaysWhereTheCardIdlesAndTheHostWaits()
    {
        string folder = Directory.CreateTempSubdirectory("orion-gpu-").FullName, trace = Path.Combine(folder, "trace.txt");
        List<string> lines = [];
        for (int step = 0; step < 500; step++)
        {
            int at = 1_000_000 + (step * 56_000);
            lines.AddRange(Enumerable.Range(0, 4).Select(k => $"k {at + (k * 10_000)} {at + (k * 10_000) + 8_000} kernel_{k}"));
            lines.AddRange([$"a {at - 10_000} {at - 9_000} cuGraphLaunch", $"a {at + 1_000} {at + 40_000} cuStreamSynchronize", $"a {at + 40_500} {at + 41_000} cuMemcpyDtoH_v2"]);
        }

        File.WriteAllLines(trace, [.. lines, "k 17 torn"]);
        (int status, string said) = GpuPackage.Python(Path.Combine(RealNvrtcTests.Root(), "perf", "gpu", "gather.py"), "gaps", trace, "a model", "500");
        Directory.Delete(folder, recursive: true);
        Assert.Equal(0, status);
        JsonElement row = JsonDocument.Parse(said).RootElement;
        // the window starts with a step and ends with its last kernel: 200 steps of 32 us busy in 56, less the last wait
        const double Span = (200 * 56) - 18;
        Assert.Equal(1 - (200 * 32 / Span), row.GetProperty("gapShare").GetDouble(), 1e-12);
        Assert.Equal(199 / 200.0, row.GetProperty("waitPointsPerStep").GetDouble(), 0.006);
        Assert.Equal(199 * 18 / Span, row.GetProperty("idleAtWaitsShare").GetDouble(), 1e-12);
        Assert.Equal("kernel_3", row.GetProperty("largestGapsUs")[0].GetProperty("after").GetString());
    }

    // The library that the driver loads, with a CUPTI of a few lines beside it that tells of one kernel and one call.
    [Fact]
    public void GpuTrace_LoadedByTheDriver_WritesWhatCuptiTells()
    {
        SoftwareCuda.SkipIfAbsent();
        string folder = Directory.CreateTempSubdirectory("orion-gpu-").FullName, source = Path.Combine(folder, "cupti.c");
        File.WriteAllText(source, """
            #include <dlfcn.h>
            #include <stdint.h>
            #include <string.h>
            static void (*ask)(uint8_t**, size_t*, size_t*), (*give)(void*, uint32_t, uint8_t*, size_t, size_t);
            int cuptiActivityEnable(int kind) { (void)kind; return 0; }
            int cuptiActivityFlushPeriod(uint32_t ms) { (void)ms; return 0; }
            int cuptiActivityRegisterCallbacks(void* a, void* b) { memcpy(&ask, &a, sizeof a), memcpy(&give, &b, sizeof b); return 0; }
            int cuptiGetCallbackName(int domain, uint32_t id, const char** name) { *name = domain == 1 && id == 5 ? "cuGraphLaunch" : "wrong"; return 0; }
            int cuptiActivityGetNextRecord(uint8_t* buffer, size_t bytes, uint8_t** record) {
                *record = *record ? *record + 128 : buffer;
                return *record < buffer + bytes ? 0 : 12;
            }
            int cuptiActivityFlushAll(uint32_t flag) {
                uint8_t* buffer; size_t bytes, most; (void)flag;
                ask(&buffer, &bytes, &most);
                memset(buffer, 0, 384);
                const char* name = "rotary"; const uint32_t kernel = 10, call = 4, id = 5; const uint64_t times[2] = {1000, 3000}, none = 8;
                for (int i = 0; i < 2; i++) memcpy(buffer + i * 128, &kernel, 4), memcpy(buffer + i * 128 + 16, times, 16);
                memcpy(buffer + 104, &name, 8), memcpy(buffer + 128 + 104, &none, 8);
                memcpy(buffer + 256, &call, 4), memcpy(buffer + 260, &id, 4), memcpy(buffer + 264, times, 16);
                give(0, 0, buffer, bytes, 384);
                return 0;
            }
            """);
        File.WriteAllText(Path.Combine(folder, "driver.c"), "#include <dlfcn.h>\nint main(void) { int (*start)(void); *(void**)&start = dlsym(dlopen(\"./trace.so\", RTLD_NOW), \"InitializeInjection\"); return start() == 1 ? 0 : 3; }\n");
        string ours = Path.Combine(RealNvrtcTests.Root(), "perf", "gpu", "cupti_trace.c");
        string command = $"g=${{CC:-gcc}}; $g -shared -fPIC -o cupti.so cupti.c && $g -std=c11 -O2 -Wall -Wextra -Wshadow -Werror -shared -fPIC -o trace.so '{ours}' -ldl && $g -o driver driver.c -ldl && ORION_CUPTI=./cupti.so ORION_TRACE=trace.txt ./driver";
        using Process process = Process.Start(new ProcessStartInfo("bash", ["-c", command]) { WorkingDirectory = folder, RedirectStandardError = true })!;
        string said = process.StandardError.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, said);
        Assert.Equal(["k 1000 3000 rotary", "k 1000 3000 ?", "a 1000 3000 cuGraphLaunch"], File.ReadAllLines(Path.Combine(folder, "trace.txt")));
        Directory.Delete(folder, recursive: true);
    }

    /// <summary>A folder as `run.sh pack` makes it, whose engine is a shell script.</summary>
    sealed class GpuPackage : IDisposable
    {
        readonly string _folder = Directory.CreateTempSubdirectory("orion-gpu-").FullName;

        public GpuPackage(string engine)
        {
            Array.ForEach(["engine", "data", "tools"], folder => Directory.CreateDirectory(In(folder)));
            File.WriteAllText(In("commit"), "unknown");
            Array.ForEach(["run.sh", "gather.py"], file => File.Copy(Path.Combine(RealNvrtcTests.Root(), "perf", "gpu", file), In(file)));
            Script(In("engine/orion-engine"), engine);
        }

        public string In(string name) => Path.Combine(_folder, name);

        public string Result(string name) => Path.Combine(_folder, "results", name);

        public void Tool(string name, string text) => Script(In($"tools/{name}"), text);

        public (int Status, string Said) Measure(string flags, string parts, bool ownGroup = false)
        {
            string command = $"{(ownGroup ? "setsid -w " : "")}bash run.sh measure {flags} --out results --parts '{parts}'";
            ProcessStartInfo start = new("bash", ["-c", command]) { RedirectStandardError = true, WorkingDirectory = _folder };
            start.Environment["PATH"] = $"{In("tools")}:{Environment.GetEnvironmentVariable("PATH")}";
            return Run(start, process => process.StandardError);
        }

        public static (int Status, string Said) Python(params string[] arguments) =>
            Run(new ProcessStartInfo("python3", arguments) { RedirectStandardOutput = true }, process => process.StandardOutput);

        static (int Status, string Said) Run(ProcessStartInfo start, Func<Process, StreamReader> heard)
        {
            using Process process = Process.Start(start)!;
            string said = heard(process).ReadToEnd();
            process.WaitForExit();
            return (process.ExitCode, said);
        }

        static void Script(string path, string text)
        {
            File.WriteAllText(path, "#!/usr/bin/env bash\n" + text + "\n");
            File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }

        public void Dispose() => Directory.Delete(_folder, recursive: true);
    }

    // A process that has ended is a zombie until process 1, its parent now, asks for its status.
    static bool Works(string process)
    {
        try
        {
            return !File.ReadAllText($"/proc/{process}/status").Contains("State:\tZ", StringComparison.Ordinal);
        }
        catch (IOException)
        {
            return false;
        }
    }
}
