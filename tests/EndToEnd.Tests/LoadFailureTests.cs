// A newcomer that cannot load its state: it says why, leaves, asks again later and later, the run holds with that reason, and goes
// on by itself once the cause is gone. The newcomer is the only hope of its stage, so that everything waits for it.
using System.Diagnostics;
using OrionNative.EndToEnd.Tests.Support;
using OrionNative.Engine.Run;

namespace OrionNative.EndToEnd.Tests;

[Collection(nameof(TimedTests))]
public class LoadFailureTests(ITestOutputHelper output)
{
    static readonly RunConfig _config = SwarmUnderTest.Small(stages: 2, replicas: 1, steps: 12) with { Microbatches = 8, CheckpointEvery = 2, Keep = 20 };

    [Fact]
    public void Disk_FullWhenTheCheckpointComes_HoldSaysSoAndTheRunGoesOnWhenThereIsRoom() => Check(
        (run, victim) =>
        {
            string folder = Directory.CreateDirectory(Path.Combine(run.Swarm.FolderOf(victim), "checkpoints")).FullName;
            Assert.SkipUnless(Command("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder) == 0, "mount -t tmpfs is refused; run this test as root, outside of a restricted container");
            File.WriteAllBytes(Path.Combine(folder, "ballast"), new byte[60 << 10]);
            return () => File.Delete(Path.Combine(folder, "ballast"));
        },
        (run, victim) =>
        {
            string folder = Path.Combine(run.Swarm.FolderOf(victim), "checkpoints");
            Command("mount", "-o", "remount,size=64m", folder);
        },
        (run, victim) => Command("umount", "-l", Path.Combine(run.Swarm.FolderOf(victim), "checkpoints")),
        "No space left on device");

    [Fact]
    public void Checkpoint_AlteredOnTheOrchestratorsDisk_HoldNamesTheFileAndTheRunGoesOnWhenItIsWhole()
    {
        Dictionary<string, byte[]> whole = [];
        Check(
            (run, _) =>
            {
                foreach (string file in Directory.GetFiles(Path.Combine(run.RunPath, "checkpoints"), "head*.safetensors", SearchOption.AllDirectories))
                {
                    byte[] bytes = whole[file] = File.ReadAllBytes(file);
                    byte[] altered = [.. bytes];
                    altered[^5] ^= 1;
                    File.WriteAllBytes(file, altered);
                }

                return () => { };
            },
            (_, _) =>
            {
                foreach ((string file, byte[] bytes) in whole)
                {
                    File.WriteAllBytes(file, bytes);
                }
            },
            (_, _) => { },
            "head.optimizer.safetensors was altered");
    }

    void Check(Func<SwarmUnderTest, int, Action> spoil, Action<SwarmUnderTest, int> mend, Action<SwarmUnderTest, int> cleanUp, string words)
    {
        using SwarmUnderTest run = new(_config);
        run.Swarm.RehearseSeconds.Fill(0.05);
        run.Start();
        run.WaitForStep(5);
        int victim = run.HolderOf(1);
        run.Kill(victim);
        run.Swarm.Peers[victim]!.WaitForExit();
        Assert.True(SwarmUnderTest.Wait(() => run.Swarm.Orchestrator.HoldReason.Length > 0, 20), run.Logs());
        try
        {
            Action more = spoil(run, victim);
            run.Swarm.StartPeer(victim);
            Assert.True(SwarmUnderTest.Wait(() => Failures(run).Length >= 2, 60), run.Logs());
            string[] failures = Failures(run);
            output.WriteLine(string.Join("\n", failures));
            Assert.All(failures, failure => Assert.Contains(words, failure, StringComparison.Ordinal));
            Assert.EndsWith("asks again in 1 s", failures[0], StringComparison.Ordinal);
            Assert.EndsWith("(2 times in a row); asks again in 2 s", failures[1], StringComparison.Ordinal);
            Assert.True(SwarmUnderTest.Wait(() => run.Swarm.Orchestrator.HoldReason.Contains(words, StringComparison.Ordinal), 20), run.Swarm.Orchestrator.HoldReason);
            output.WriteLine($"HOLD: {run.Swarm.Orchestrator.HoldReason}");
            Assert.Contains("no holder for stage", run.Swarm.Orchestrator.HoldReason, StringComparison.Ordinal);
            Assert.False(run.Swarm.Peers[victim]!.HasExited);
            more();
            mend(run, victim);
            run.WaitForEnd(120);
            run.RequireExactlyOnce(_config);
        }
        finally
        {
            cleanUp(run, victim);
        }
    }

    static string[] Failures(SwarmUnderTest run) =>
        [.. run.Events("PeerRemoved").Select(line => (string)line["Reason"]!).Where(reason => reason.StartsWith("could not load its state", StringComparison.Ordinal))];

    static int Command(string program, params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true })!;
        process.WaitForExit();
        return process.ExitCode;
    }
}
