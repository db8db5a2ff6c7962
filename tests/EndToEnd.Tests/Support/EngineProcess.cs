// Runs orion-engine as an operator does: a child process with arguments, its two outputs and its exit status.
using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text.Json.Nodes;

namespace OrionNative.EndToEnd.Tests.Support;

sealed record EngineResult(int Status, string Output, string Error)
{
    public JsonObject Json => JsonNode.Parse(Output)!.AsObject();

    public EngineResult Succeeded()
    {
        Assert.True(Status == 0, $"status {Status}\n{Error}\n{Output}");
        return this;
    }
}

static partial class EngineProcess
{
    static readonly string _engine = Path.Combine(AppContext.BaseDirectory, "orion-engine.dll");

    public static EngineResult Run(string workingDirectory, params string[] arguments)
    {
        using Process process = Start(workingDirectory, arguments);
        return End(process, TimeSpan.FromMinutes(3));
    }

    /// <summary>What a process still says until it ends; one that does not end in time is killed with its children.</summary>
    public static EngineResult End(Process process, TimeSpan within)
    {
        Task<string> output = process.StandardOutput.ReadToEndAsync();
        Task<string> error = process.StandardError.ReadToEndAsync();
        if (!process.WaitForExit(within))
        {
            process.Kill(entireProcessTree: true);
            throw new TimeoutException($"orion-engine {string.Join(' ', process.StartInfo.ArgumentList.Skip(1))} did not end within {within}\n{error.Result}");
        }

        return new EngineResult(process.ExitCode, output.Result, error.Result);
    }

    public static Process Start(string workingDirectory, params string[] arguments) => Start(workingDirectory, [], arguments);

    /// <summary>With variables of its own in the environment.</summary>
    public static Process Start(string workingDirectory, (string Name, string Value)[] variables, string[] arguments)
    {
        ProcessStartInfo start = new("dotnet", [_engine, .. arguments])
        {
            WorkingDirectory = workingDirectory,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            RedirectStandardInput = true,
        };
        foreach ((string name, string value) in variables)
        {
            start.Environment[name] = value;
        }

        return Process.Start(start)!;
    }

    /// <summary>What Ctrl-C sends to a process.</summary>
    public static void Interrupt(int process) => Assert.Equal(0, Kill(process, 2));

    /// <summary>What a service manager sends to a process that is to end.</summary>
    public static void Terminate(int process) => Assert.Equal(0, Kill(process, 15));

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Kill(int process, int signal);
}

/// <summary>A folder that is gone afterwards.</summary>
sealed class TemporaryFolder : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("orion-test-").FullName;

    public string File(string name, string text)
    {
        string path = System.IO.Path.Combine(Path, name);
        System.IO.File.WriteAllText(path, text);
        return path;
    }

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
