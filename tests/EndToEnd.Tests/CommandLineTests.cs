using OrionNative.EndToEnd.Tests.Support;

namespace OrionNative.EndToEnd.Tests;

public sealed class CommandLineTests : IDisposable
{
    readonly TemporaryFolder _folder = new();

    EngineResult Run(params string[] arguments) => EngineProcess.Run(_folder.Path, arguments);

    [Fact]
    public void Help_EveryCommand_HasADescriptionExamplesAndJson()
    {
        string[] commands = Commands(Run("--help").Succeeded().Output);
        Assert.Contains("train", commands);
        Parallel.ForEach(commands, new ParallelOptions { MaxDegreeOfParallelism = 2 }, command =>
        {
            string help = Run(command, "--help").Succeeded().Output;
            Assert.Contains("Examples:", help);
            string[] below = Commands(help);
            Assert.All(below, name => Assert.Contains("--json", Run(command, name, "--help").Succeeded().Output));
            Assert.True(below.Length > 0 || help.Contains("--json", StringComparison.Ordinal), $"{command} has no --json");
        });
    }

    static string[] Commands(string help) => help.IndexOf("Commands:", StringComparison.Ordinal) is var at and >= 0
        ? [.. help[at..].Split('\n').Skip(1).TakeWhile(line => line.StartsWith("  ", StringComparison.Ordinal)).Where(line => line[2] != ' ').Select(line => line.Trim().Split(' ')[0])]
        : [];

    [Theory]
    [InlineData("trian", "unknown command 'trian'; did you mean 'train'?")]
    [InlineData("train --step 3", "unknown option '--step'; did you mean '--steps'?")]
    [InlineData("train --learning-rate 3", "unknown option '--learning-rate'; did you mean '--lr'?")]
    [InlineData("train --batch-size 3", "unknown option '--batch-size'; did you mean '--microbatch-size'?")]
    [InlineData("train --zzzz 3", "unknown option '--zzzz'; the nearest is '--")]
    [InlineData("simulate --seed many", "--seed 'many' is not a whole number in its range")]
    [InlineData("tokenizer", "`tokenizer` needs one of its commands: train")]
    [InlineData("train --data absent.txt", "absent.txt")]
    [InlineData("train --data text.txt --model tinny", "model 'tinny' is neither a preset")]
    [InlineData("train --data text.txt --model bad.yaml", "query-heads 3 do not divide the width 64")]
    [InlineData("train --data text.txt --sequence 9999", "sequence 9999 is longer than the context 512 of model 'tiny'")]
    [InlineData("train --data text.txt --stages 9", "9 stages cannot share 4 blocks")]
    [InlineData("train --data text.txt --steps ten", "steps 'ten' is not a whole number")]
    [InlineData("train --data text.txt --device gpu", "device 'gpu'")]
    [InlineData("train --data text.txt --config unknown.yaml", "unknown key 'stepps'; did you mean 'steps'?")]
    [InlineData("train --data text.txt --sync-every 2", "sync-every 2 is not built yet")]
    [InlineData("train", "no data")]
    [InlineData("eval --checkpoint absent --data text.txt", "absent")]
    [InlineData("eval --checkpoint absent --data text.txt --sequence -5", "--sequence -5 does not lie between 0 and")]
    [InlineData("generate --checkpoint absent --prompt a --top-p NaN", "--top-p NaN does not lie between 1E-06 and 1")]
    [InlineData("export --checkpoint absent --out hf --type fp16", "Must be one of: 'fp32' 'bf16'")]
    [InlineData("plan --stages 9", "9 stages cannot share 4 blocks")]
    [InlineData("plan --peer-device h101", "did you mean 'h100'?")]
    [InlineData("plan --link moon", "link 'moon' is neither a profile (perfect, orion")]
    [InlineData("plan --device cuda:0", "name the card with --peer-device")]
    [InlineData("plan --peer-mfu 0.3", "--peer-mfu is a share of a card's peak")]
    [InlineData("plan --memory lots", "memory 'lots' is not a size")]
    [InlineData("plan --peer-device a100 --code-width 3 --stages 2", "this model's code width is 3")]
    public void BadInput_OnTheCommandLine_IsOneSentenceAndStatus2(string line, string expected)
    {
        _folder.File("text.txt", string.Concat(Enumerable.Repeat("to be or not to be, that is the question.\n", 200)));
        _folder.File("bad.yaml", "width: 64\nquery-heads: 3\nkv-heads: 3\n");
        _folder.File("unknown.yaml", "stepps: 3\n");
        EngineResult result = Run(line.Split(' '));
        Assert.Contains(expected, result.Error);
        Assert.DoesNotContain("   at ", result.Error);
        Assert.Equal(2, result.Status);
    }

    [Theory]
    [InlineData("train --data empty.txt", "empty.txt")]
    [InlineData("train --data short.txt --sequence 64", "short.txt has 5 tokens, too few for one window of 64")]
    [InlineData("train --data short.txt --sequence 2 --out empty.txt", "empty.txt cannot be made")]
    public void BadInput_InTheData_NamesTheFile(string line, string expected)
    {
        _folder.File("empty.txt", "");
        _folder.File("short.txt", "short");
        EngineResult result = Run(line.Split(' '));
        Assert.Contains(expected, result.Error);
        Assert.DoesNotContain("   at ", result.Error);
        Assert.NotEqual(0, result.Status);
    }

    public void Dispose() => _folder.Dispose();
}
