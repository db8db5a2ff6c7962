// plan: what a run will need and take, before a peer has joined. The flags of a run, and what only a plan must be told: how fast the
// peers are, what memory they offer, and what lies between them.
using System.CommandLine;
using System.Globalization;
using OrionNative.Engine.Cli.Link;
using OrionNative.Engine.Hosting;
using OrionNative.Engine.Planning;
using OrionNative.Engine.Run;
using OrionNative.Kernels.Cpu;
using OrionNative.Kernels.Cuda;
using OrionNative.Net.Links;

namespace OrionNative.Engine.Cli;

static class PlanCommand
{
    const double CardShare = 0.35;
    const string CardSource = "an assumption: no kernel of this project has been timed on a card; torchtitan reports 33 to 39 % for Llama 3 8B on H100";
    const double CpuBytesPerSecond = 20e9;

    sealed record PeerOptions(Option<string> Device, Option<double> Tflops, Option<double> Mfu, Option<string?> Memory, Option<string?> Link, Option<string[]> Set, Option<bool> Here);

    public static Command Create()
    {
        ExampleCommand command = new("plan", "Predict memory, traffic, time and utilization of a run before it starts.",
            "plan --stages 4 --replicas 2 --microbatches 32",
            "plan --config run.yaml --link home --memory 8GB",
            "plan --model 124m --stages 4 --microbatches 32 --here",
            "plan --model 8b --vocabulary 128256 --sequence 8192 --microbatch-size 1 --stages 8 --microbatches 64 --peer-device h100 --link 1000mbit,20ms",
            "plan --model 1b --stages 4 --peer-device rtx4090 --peer-mfu 0.3 --link orion --set \"up rate 40mbit\" --json");
        RunOptions options = new(command);
        PeerOptions peer = new(
            new Option<string>("--peer-device") { Description = $"what a peer computes on: cpu (this machine's, timed for some seconds), or a card by its published figures: {string.Join(", ", Cards.All.Select(card => card.Word))}", DefaultValueFactory = _ => "cpu", HelpName = "word" },
            new Option<double>("--peer-tflops") { Description = "TFLOP/s that a peer sustains in a stage; 0: measured, or --peer-mfu of a card's peak", HelpName = "value" }.Between(0, 1e5),
            new Option<double>("--peer-mfu") { Description = $"share of a card's peak that a stage is assumed to reach, recomputation included [default: {CardShare.ToString(CultureInfo.InvariantCulture)}]", HelpName = "value" }.Between(0.0001, 1),
            new Option<string?>("--memory") { Description = "memory that a peer offers, like 900MB or 24GB; empty: this machine's, or the card's", HelpName = "size" },
            new Option<string?>("--link", "--profile") { Description = $"a peer's access link: {string.Join("; ", LinkProfile.Named.Select(p => $"{p.Key}: {p.Value.Description}"))}; or rates up/down and round trip, like 856/1322mbit,30-60ms [default: orion; with --here perfect]", HelpName = "link" },
            new Option<string[]>("--set") { Description = "a change to the link, in the words of `link emulate`; may be given several times", HelpName = "words" },
            new Option<bool>("--here") { Description = "all peers on this machine, sharing its processors, as `train --stages` starts them" });
        Option<int> vocabulary = new Option<int>("--vocabulary") { Description = "plan for a tokenizer of this size that is not made yet; 0: the run's tokenizer", HelpName = "ids" }.Between(0, 1 << 24);
        Option<bool> json = CommandOutput.JsonOption();
        foreach (Option option in (Option[])[peer.Device, peer.Tflops, peer.Mfu, peer.Memory, peer.Link, peer.Set, peer.Here, vocabulary, json])
        {
            command.Add(option);
        }

        command.SetAction(parsed =>
        {
            CommandOutput output = new(parsed.GetValue(json));
            int ids = parsed.GetValue(vocabulary);
            PlannedRun run = new(ResolvedRun.WithoutData(options.Read(parsed, new RunConfig()), ids > 0 ? ids : null));
            RunPlan plan = Plan(run, peer, parsed, output);
            PlanReport.Print(plan, output.Text);
            output.Result(PlanJson.Of(plan));
            return ExitStatus.Done;
        });
        return command;
    }

    static RunPlan Plan(PlannedRun run, PeerOptions peer, ParseResult parsed, CommandOutput output)
    {
        bool isHere = parsed.GetValue(peer.Here);
        string word = parsed.GetRequiredValue(peer.Device), linkName = parsed.GetValue(peer.Link) ?? (isHere || run.IsOneProcess ? "perfect" : "orion");
        LinkProfile link = (parsed.GetValue(peer.Set) ?? []).Aggregate(LinkWords.Profile(linkName), LinkWords.Apply);
        long offered = MemorySize.Parse(parsed.GetValue(peer.Memory));
        double tflops = parsed.GetValue(peer.Tflops), mfu = parsed.GetValue(peer.Mfu);
        int processors = run.Config.Threads > 0 ? run.Config.Threads : Environment.ProcessorCount, count = run.Config.Stages * run.Config.Replicas;
        if (word != "cpu")
        {
            Card card = Cards.Get(word);
            Require(!isHere, $"--here times this machine's processors; it does not go with --peer-device {word}");
            Require(tflops == 0 || mfu == 0, "give --peer-tflops or --peer-mfu, not both");
            double flops = tflops > 0 ? 1e12 * tflops : card.Flops * (mfu > 0 ? mfu : CardShare);
            string source = string.Create(CultureInfo.InvariantCulture, $"{card.Name}: {flops / 1e12:F0} of {card.Flops / 1e12:F0} TFLOP/s ({100 * flops / card.Flops:F0} %), {(tflops > 0 ? "as --peer-tflops says" : mfu > 0 ? "as --peer-mfu says" : CardSource)}");
            AssumedSpeed assumed = new(run, new CudaOnPaper(card.Name), card.Flops, flops, card.BytesPerSecond, source);
            return Planner.Of(run, new PeerAssumptions(
                assumed, offered > 0 ? offered : (long)card.MemoryBytes, offered > 0 ? "as --memory says" : "what the card is sold with", link, linkName, 0));
        }

        Require(run.Config.Device == "cpu", $"device {run.Config.Device}: a plan times processors only; name the card with --peer-device ({string.Join(", ", Cards.All.Select(card => card.Word))})");
        Require(mfu == 0, "--peer-mfu is a share of a card's peak: name the card with --peer-device, or say --peer-tflops");
        int threads = isHere ? Math.Max(1, processors / count) : processors, atOnce = isHere ? Math.Min(count, processors / threads) : 0;
        if (tflops > 0)
        {
            using CpuDevice device = new(threads);
            AssumedSpeed assumed = new(run, device, double.NaN, 1e12 * tflops, CpuBytesPerSecond, string.Create(CultureInfo.InvariantCulture, $"{tflops} TFLOP/s a peer, as --peer-tflops says; memory at {CpuBytesPerSecond / 1e9:F0} GB/s; single precision, as on a processor"));
            return Planner.Of(run, new PeerAssumptions(assumed, offered > 0 ? offered : device.MemoryBytes, Said(offered), link, linkName, atOnce));
        }

        if (output.IsTerminal)
        {
            output.Text.WriteLine("timing this machine's processors ...");
        }

        using MeasuredSpeed measured = new(run, threads, Math.Max(1, atOnce));
        return Planner.Of(run, new PeerAssumptions(measured, offered > 0 ? offered : measured.MemoryBytes, Said(offered), link, linkName, atOnce));
    }

    static string Said(long offered) => offered > 0 ? "as --memory says" : "what this machine has";

    static void Require(bool holds, string message)
    {
        if (!holds)
        {
            throw new ConfigurationException(message);
        }
    }
}
