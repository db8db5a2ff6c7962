// What quickstart says at the end: the loss curve, the bytes, the time that the failure cost, how busy each peer was, a sample.
//   time lost = sum over the steps from the kill on of (its seconds - the median of the undisturbed steps before), where positive
using System.Globalization;
using System.Text.Json.Nodes;
using OrionNative.Engine.Dashboard;
using OrionNative.Engine.Hosting;
using OrionNative.Engine.Hosting.Swarm;
using OrionNative.Engine.Model;
using OrionNative.Engine.Pipeline;

namespace OrionNative.Engine.Cli;

sealed class QuickstartReport(ResolvedRun run, LocalSwarm swarm)
{
    const string SamplePrompt = "/// <summary>";

    readonly List<(int Step, double Loss)> _curve = [];
    readonly List<double> _seconds = [];

    public void Add(CommittedStep step)
    {
        _curve.Add((step.Step, step.Loss));
        _seconds.Add(step.Seconds);
    }

    /// <summary>Prints the report, writes loss.svg, and returns the same as JSON.</summary>
    public JsonObject Print(TrainingOutcome outcome, PlotMark[] marks, TextWriter text)
    {
        PlotCurve loss = new("training loss", _curve);
        string svg = Path.Combine(outcome.Directory, "loss.svg");
        File.WriteAllText(svg, LossPlot.Svg($"{run.Config.Stages} stages x {run.Config.Replicas} replicas, {run.Model.Width / Math.Max(1, run.Model.CodeWidth)}x narrower codes", [loss], marks));
        text.WriteLine();
        text.Write(LossPlot.Text(loss));

        CodePayload payload = CodePayload.Of(run.Model, run.Config);
        long crossings = (long)run.Config.Steps * run.Config.Microbatches * (run.Config.Stages - 1);
        long codes = crossings * (payload.ForwardBytes + payload.CodeBytes), full = crossings * 2 * 2L * payload.Rows * run.Model.Width;
        PeerCounts all = swarm.Orchestrator.Figures.Values.Aggregate(new PeerCounts(), (sum, figures) => sum + figures.Total);
        int kill = marks.Length > 0 ? marks[0].Step : _seconds.Count;
        // the first step waits for the peers to start
        double[] calm = [.. _seconds.Take(kill).Skip(1).Order()];
        double median = calm.Length > 0 ? calm[calm.Length / 2] : 0, wall = _seconds.Sum();
        double lost = _seconds.Skip(kill).Sum(step => Math.Max(0, step - median));
        double busy = swarm.Orchestrator.Figures.Values.Sum(figures => figures.BusySeconds) / Math.Max(1e-9, wall * swarm.Peers.Count);
        text.WriteLine(string.Create(CultureInfo.InvariantCulture, $"""

            codes and their gradients      {codes / 1e6,9:F2} MB; full bf16 activations would be {full / 1e6:F1} MB ({(double)full / codes:F0}x)
            measured over the boundaries   {(all.NextBytes + all.PreviousBytes) / 1e6,9:F2} MB at the sockets: with headers, acknowledgements, answers and signs of life
            between replicas               {all.ReplicaBytes / 1e6,9:F2} MB at the sockets: gradient shares of every step, and the newcomer's state
            time                           {wall,9:F1} s; {lost:F1} s of it lost to the failure (steps beyond the median of {median:F2} s before it)
            loss                           {_curve[0].Loss,9:F3} to {_curve[^1].Loss:F3} nats per byte
            utilization                    {100 * busy,9:F1} % compute over wall time; {swarm.Peers.Count} peers share {Environment.ProcessorCount} processors
            """));
        JsonArray peers = [];
        for (int i = 0; i < swarm.Ids.Count; i++)
        {
            PeerFigures? figures = swarm.Orchestrator.Figures.GetValueOrDefault(swarm.Ids[i]);
            double share = (figures?.BusySeconds ?? 0) / wall;
            text.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  {swarm.Ids[i].Short}  stage {figures?.Stage,2}          {100 * share,9:F1} %   {figures?.Total.Microbatches,6} microbatches   {figures?.SentBytes / 1e6,8:F2} MB sent"));
            peers.Add(new JsonObject { ["peer"] = swarm.Ids[i].ToString(), ["stage"] = figures?.Stage, ["utilization"] = share, ["microbatches"] = figures?.Total.Microbatches, ["sentBytes"] = figures?.SentBytes });
        }

        text.WriteLine($"checkpoint                     {outcome.Checkpoint}\nloss curve                     {svg}");
        string sample = Sample(outcome.Checkpoint);
        text.WriteLine($"\na sample:\n{sample}");
        return new JsonObject
        {
            ["directory"] = outcome.Directory,
            ["checkpoint"] = outcome.Checkpoint,
            ["steps"] = outcome.Step,
            ["firstLoss"] = _curve[0].Loss,
            ["loss"] = _curve[^1].Loss,
            ["codeBytes"] = codes,
            ["fullActivationBytes"] = full,
            ["boundaryBytesSent"] = all.NextBytes + all.PreviousBytes,
            ["replicaBytesSent"] = all.ReplicaBytes,
            ["seconds"] = wall,
            ["secondsLost"] = lost,
            ["utilization"] = busy,
            ["peers"] = peers,
            ["sample"] = sample,
        };
    }

    static string Sample(string checkpoint)
    {
        using LoadedModel loaded = new(checkpoint, Devices.Open("cpu", 0));
        using Generator generator = new(loaded.Parameters, loaded.Wire);
        int[] prompt = [.. System.Text.Encoding.UTF8.GetBytes(SamplePrompt).Select(b => (int)b)];
        return SamplePrompt + System.Text.Encoding.UTF8.GetString([.. generator.Generate(prompt, 160, new SamplingOptions(0.7)).Select(id => (byte)id)]);
    }
}
