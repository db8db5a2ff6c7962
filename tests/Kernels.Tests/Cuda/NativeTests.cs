// The software device's own tests in C++, those of `ctest --test-dir build/native`, so that one command runs everything; with
// ORION_LONG=1 also built and run under AddressSanitizer and UndefinedBehaviorSanitizer.
using System.Diagnostics;

namespace OrionNative.Kernels.Tests.Cuda;

public class NativeTests
{
    [Theory]
    [InlineData("device")]
    [InlineData("stream")]
    [InlineData("hazard")]
    [InlineData("product")]
    [InlineData("nccl")]
    public void SoftwareDevice_OwnTest_Passes(string test)
    {
        string program = Path.Combine(RealNvrtcTests.Root(), "build", "native", "native", $"{test}_test");
        if (!File.Exists(program))
        {
            Assert.Skip($"{program} is not built; fix: cmake -S . -B build/native && cmake --build build/native (needs g++ and cmake)");
        }

        // three devices, as ctest sets it
        Run(program, [], ("ORION_SOFTCUDA_DEVICES", "3"), TimeSpan.FromMinutes(2));
    }

    [Fact]
    public void SoftwareDevice_UnderSanitizers_Passes()
    {
        if (Environment.GetEnvironmentVariable("ORION_LONG") != "1")
        {
            Assert.Skip("a build under AddressSanitizer and UBSan takes minutes; fix: ORION_LONG=1 runs it");
        }

        string root = RealNvrtcTests.Root(), build = Path.Combine(root, "build", "native-sanitized");
        TimeSpan limit = TimeSpan.FromMinutes(9);
        Run("cmake", ["-S", root, "-B", build, "-DORION_SANITIZE=ON"], ("CXX", "g++"), limit);
        Run("cmake", ["--build", build, "-j", "2"], ("CXX", "g++"), limit);
        Run("ctest", ["--test-dir", build, "--output-on-failure"], ("CXX", "g++"), limit);
    }

    static void Run(string program, string[] arguments, (string Name, string Value) variable, TimeSpan limit)
    {
        ProcessStartInfo start = new(program, arguments) { RedirectStandardError = true, RedirectStandardOutput = true };
        start.Environment[variable.Name] = variable.Value;
        using Process process = Process.Start(start)!;
        Task<string> output = process.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        string errors = process.StandardError.ReadToEnd();
        if (!process.WaitForExit(limit))
        {
            process.Kill(entireProcessTree: true);
            Assert.Fail($"{program} did not end within {limit}");
        }

        Assert.True(process.ExitCode == 0, $"{program} ended with {process.ExitCode}:\n{output.Result}\n{errors}");
    }
}
