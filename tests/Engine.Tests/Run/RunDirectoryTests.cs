using OrionNative.Engine.Hosting;

namespace OrionNative.Engine.Tests.Run;

public sealed class RunDirectoryTests : IDisposable
{
    readonly TemporaryFolder _folder = new();

    [Fact]
    public void ASecondProcess_WhileARunIsWritten_IsRefusedAndWritesNothing()
    {
        string path = _folder["run"];
        using (RunDirectory.Create(path, new RunConfig(), TimeProvider.System))
        {
            string config = File.ReadAllText(Path.Combine(path, "run.yaml"));
            Assert.True(RunDirectory.IsInUse(path));
            IOException refused = Assert.Throws<IOException>(() => RunDirectory.Resume(path, new RunConfig { Steps = 7 }, 0, TimeProvider.System));
            Assert.Contains($"another process trains in {path}", refused.Message);
            Assert.Equal(config, File.ReadAllText(Path.Combine(path, "run.yaml")));
        }

        Assert.False(RunDirectory.IsInUse(path));
        using RunDirectory resumed = RunDirectory.Resume(path, new RunConfig { Steps = 7 }, 0, TimeProvider.System);
        Assert.Equal(7, RunDirectory.ReadConfig(path).Steps);
    }

    [Fact]
    public void Create_WhereAFileIs_NamesThePlaceAndTheFlag()
    {
        string path = _folder.Write("run", "a file"u8);
        IOException error = Assert.Throws<IOException>(() => RunDirectory.Create(path, new RunConfig(), TimeProvider.System));
        Assert.Contains($"the run directory {path} cannot be made", error.Message);
        Assert.Contains("--out", error.Message);
    }

    public void Dispose() => _folder.Dispose();
}
