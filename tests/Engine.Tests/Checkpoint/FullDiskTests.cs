// Saving onto a disk with no room: what was saved stays, nothing half-written is left, one sentence says what to do.
using System.Diagnostics;
using OrionNative.Engine.Checkpoint;

namespace OrionNative.Engine.Tests.Checkpoint;

public class FullDiskTests
{
    [Fact]
    public void Save_DiskFull_LatestStaysAndTheSentenceIsClear()
    {
        using var folder = new TemporaryFolder();
        string disk = folder["disk"];
        Directory.CreateDirectory(disk);
        if (Environment.UserName != "root" || Run("mount", "-t", "tmpfs", "-o", "size=3m", "orion-test", disk) != 0)
            Assert.Skip("a disk of 3 MB needs a tmpfs mount, which needs root; run the tests as root");
        try
        {
            var store = new CheckpointStore(disk, keep: 5);
            int saved = 0;
            // One save is 0.8 MB: the fourth cannot fit.
            IOException error = Assert.Throws<IOException>(() =>
            {
                for (int step = 1; step <= 9; step++, saved++)
                    store.Save(CheckpointStoreTests.State(step), [CheckpointStoreTests.Group(GroupNames.Head, "lm_head.weight", step, 100_000)]);
            });
            Assert.InRange(saved, 2, 3);
            Assert.Contains($"The checkpoint of step {saved + 1} was not saved", error.Message);
            Assert.Contains("the disk is full", error.Message);
            Assert.Contains("--resume", error.Message);
            Assert.Single(error.Message.Split('\n'));

            using (CheckpointReader reader = CheckpointReader.Open(disk))
                Assert.Equal(saved, reader.State.Step);
            Assert.Equal(saved, Directory.GetFileSystemEntries(Path.Combine(disk, "checkpoints")).Length);

            Directory.Delete(Path.Combine(disk, "checkpoints", "step-00000001"), recursive: true);
            store.Save(CheckpointStoreTests.State(50), [CheckpointStoreTests.Group(GroupNames.Head, "lm_head.weight", 50, 100_000)]);
            using CheckpointReader after = CheckpointReader.Open(disk);
            Assert.Equal(50, after.State.Step);
        }
        finally
        {
            Run("umount", disk);
        }
    }

    // The room ends at the small files, or at `latest` itself, after the tensors went through: a save of one small
    // group takes four pages (tensors, manifest, its hash, latest).
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public void Save_NoRoomForTheLastPages_LatestStaysUsable(int freePages)
    {
        using var folder = new TemporaryFolder();
        string disk = folder["disk"];
        Directory.CreateDirectory(disk);
        if (Environment.UserName != "root" || Run("mount", "-t", "tmpfs", "-o", "size=1m", "orion-test", disk) != 0)
            Assert.Skip("a disk of 1 MB needs a tmpfs mount, which needs root; run the tests as root");
        try
        {
            var store = new CheckpointStore(disk);
            void Save(int step) => store.Save(CheckpointStoreTests.State(step), [CheckpointStoreTests.Group(GroupNames.Head, "lm_head.weight", step, 100)]);
            Save(1);
            using (FileStream filler = File.Create(Path.Combine(disk, "filler")))
                filler.Write(new byte[new DriveInfo(disk).AvailableFreeSpace - freePages * Environment.SystemPageSize]);
            Assert.Contains("not saved", Assert.Throws<IOException>(() => Save(2)).Message);
            using (CheckpointReader reader = CheckpointReader.Open(disk))
                Assert.Equal(1, reader.State.Step);
            File.Delete(Path.Combine(disk, "filler"));
            Save(3);
            using CheckpointReader after = CheckpointReader.Open(disk);
            Assert.Equal(3, after.State.Step);
        }
        finally
        {
            Run("umount", disk);
        }
    }

    static int Run(string program, params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true })!;
        process.WaitForExit();
        return process.ExitCode;
    }
}
