// Peers as if on machines of their own: each process has an empty working directory, home and temporary folder, and is told
// nothing but the join string. The orchestrator's join string is read from what it prints.
using System.Collections.Concurrent;
using System.Diagnostics;

namespace OrionNative.EndToEnd.Tests.Support;

sealed class SwarmOfMachines(TemporaryFolder folder) : IDisposable
{
    static readonly string _engine = Path.Combine(AppContext.BaseDirectory, "orion-engine.dll");

    readonly List<Process> _processes = [];
    readonly ConcurrentQueue<string> _lines = new();
    readonly ManualResetEventSlim _invited = new();

    public string JoinUrl { get; private set; } = "";

    public Process Orchestrator { get; private set; } = null!;

    /// <summary>Everything that orchestrators and peers have printed.</summary>
    public string Log => string.Join('\n', _lines);

    /// <summary>Starts `orchestrate` in the folder, on ports of its own choice, and waits for its join string.</summary>
    public Process Orchestrate(string arguments, bool listens = true)
    {
        _invited.Reset();
        string places = (listens ? "--listen 127.0.0.1:0 " : "") + (arguments.Contains("--http", StringComparison.Ordinal) ? "" : "--http 127.0.0.1:0 ");
        Orchestrator = Start(folder.Path, $"orchestrate {places}{arguments}", "orchestrator", line =>
        {
            int at = line.IndexOf("orion://", StringComparison.Ordinal);
            if (at >= 0)
            {
                JoinUrl = line[at..].Split(' ')[0];
                _invited.Set();
            }
        });
        while (!_invited.Wait(TimeSpan.FromMilliseconds(100)))
        {
            Assert.False(Orchestrator.HasExited, $"the orchestrator ended with status {(Orchestrator.HasExited ? Orchestrator.ExitCode : 0)}\n{Log}");
        }

        return Orchestrator;
    }

    /// <summary>The folder that is a machine's only disk.</summary>
    public string Machine(string name) => Directory.CreateDirectory(Path.Combine(folder.Path, "machines", name)).FullName;

    /// <summary>Starts a peer on a machine.</summary>
    public Process Join(string name, string arguments = "", string? url = null, string? setting = null) =>
        Start(Machine(name), $"join {url ?? JoinUrl} --state state --listen 127.0.0.1:0 --threads 1 {arguments}", name, _ => { }, setting);

    Process Start(string directory, string arguments, string name, Action<string> heard, string? setting = null)
    {
        ProcessStartInfo start = new("dotnet", [_engine, .. arguments.Split(' ', StringSplitOptions.RemoveEmptyEntries)])
        {
            WorkingDirectory = directory,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.Environment["HOME"] = directory;
        start.Environment["TMPDIR"] = directory;
        start.Environment["DOTNET_TieredPGO"] = "0";
        start.Environment.Remove("ORION_ROOT");
        if (setting is not null)
        {
            start.Environment[setting.Split('=')[0]] = setting.Split('=')[1];
        }

        Process process = Process.Start(start)!;
        lock (_processes)
        {
            _processes.Add(process);
        }

        void Take(string? line)
        {
            if (line is not null)
            {
                _lines.Enqueue($"{name}: {line}");
                heard(line);
            }
        }

        process.OutputDataReceived += (_, data) => Take(data.Data);
        process.ErrorDataReceived += (_, data) => Take(data.Data);
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        return process;
    }

    /// <summary>Waits for a process and returns its status.</summary>
    public int StatusOf(Process process, double seconds = 120)
    {
        Assert.True(process.WaitForExit(TimeSpan.FromSeconds(seconds)), $"a process did not end within {seconds} s\n{Log}");
        process.WaitForExit();
        return process.ExitCode;
    }

    public void Dispose()
    {
        foreach (Process process in _processes)
        {
            if (!process.HasExited)
            {
                process.Kill();
                process.WaitForExit();
            }

            process.Dispose();
        }

        _invited.Dispose();
    }
}
