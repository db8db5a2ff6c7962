// A process that saves without pause is killed at a random moment, again and again, each time going on from what `latest`
// names. Whatever the moment, `latest` must name a checkpoint that opens, whose tensors all carry its own step.
using System.Diagnostics;
using OrionNative.Engine.Checkpoint;

namespace OrionNative.Engine.Tests.Checkpoint;

public class KilledSaveTests
{
    const string FolderVariable = "ORION_TEST_SAVE_LOOP";
    const int Elements = 100_000; // 0.8 MB a file, 2.4 MB a save

    static readonly int _kills = Environment.GetEnvironmentVariable("ORION_LONG") == "1" ? 120 : 20;

    // Not a test: the process that is killed. It runs only when the test below starts it.
    [Fact(Explicit = true)]
    public void SaveLoop()
    {
        string? folder = Environment.GetEnvironmentVariable(FolderVariable);
        if (folder is null)
            Assert.Skip($"it is the process that KilledSaveTests kills; it needs {FolderVariable}");
        var store = new CheckpointStore(folder, keep: 2);
        long step = store.Latest is null ? 0 : Verified(folder);
        while (true)
        {
            step++;
            store.Save(CheckpointStoreTests.State(step), [.. Enumerable.Range(0, 3).Select(layer =>
                CheckpointStoreTests.Group(GroupNames.Layer(layer), $"model.layers.{layer}.mlp.up_proj.weight", step, Elements))]);
        }
    }

    [Fact]
    public void Save_KilledAtRandomMoments_LatestIsAlwaysUsable()
    {
        using var folder = new TemporaryFolder();
        var random = new Random(20261122);
        long step = 0;
        int advanced = 0, leftOvers = 0;
        for (int kill = 0; kill < _kills; kill++)
        {
            using Process child = StartSaveLoop(folder.Path);
            WaitUntilSaving(child);
            Thread.Sleep(random.Next(1, 400));
            child.Kill();
            child.WaitForExit();
            leftOvers += Directory.GetDirectories(folder["checkpoints"], ".*").Length;
            if (!File.Exists(folder["latest"]))
            {
                Assert.Equal(0, step);
                continue;
            }
            long found = Verified(folder.Path);
            Assert.True(found >= step, $"kill {kill}: latest went back from step {step} to {found}");
            advanced += found > step ? 1 : 0;
            step = found;
        }
        // The campaign means something only if saves were completed and saves were interrupted.
        Assert.True(advanced > _kills / 4, $"only {advanced} of {_kills} runs completed a save");
        Assert.True(leftOvers > _kills / 4, $"only {leftOvers} of {_kills} kills hit a save");
    }

    static long Verified(string folder)
    {
        using CheckpointReader reader = CheckpointReader.Open(folder);
        Assert.Equal(3, reader.Tensors.Count);
        Assert.All(reader.Tensors.Values, tensor => Assert.False(tensor.Elements<long>().ContainsAnyExcept(reader.State.Step)));
        return reader.State.Step;
    }

    static Process StartSaveLoop(string folder)
    {
        var start = new ProcessStartInfo(Environment.ProcessPath!) { RedirectStandardOutput = true };
        if (Path.GetFileNameWithoutExtension(start.FileName) == "dotnet")
            start.ArgumentList.Add(typeof(KilledSaveTests).Assembly.Location);
        foreach (string argument in (string[])["-explicit", "only", "-method", $"{typeof(KilledSaveTests).FullName}.{nameof(SaveLoop)}"])
            start.ArgumentList.Add(argument);
        start.Environment[FolderVariable] = folder;
        return Process.Start(start)!;
    }

    // The folder of checkpoints changes with the first save of this process.
    static void WaitUntilSaving(Process child)
    {
        string folder = Path.Combine(child.StartInfo.Environment[FolderVariable]!, "checkpoints");
        DateTime begun = DateTime.UtcNow;
        DateTime changed = Directory.Exists(folder) ? Directory.GetLastWriteTimeUtc(folder) : default;
        while (!Directory.Exists(folder) || Directory.GetLastWriteTimeUtc(folder) == changed)
        {
            Assert.False(child.HasExited, $"the saving process ended by itself with status {(child.HasExited ? child.ExitCode : 0)}");
            Assert.True(DateTime.UtcNow - begun < TimeSpan.FromMinutes(1), "the saving process did not begin to save within a minute");
            Thread.Sleep(1);
        }
    }
}
