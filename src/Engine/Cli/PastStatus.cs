// `status --at`: a step of a swarm's run, as its event log tells it.
using System.Globalization;
using System.Text.Json.Nodes;
using OrionNative.Engine.Hosting.Swarm;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Cli;

static class PastStatus
{
    public static JsonObject Of(string directory, PastStep past) => new()
    {
        ["run"] = Path.GetFullPath(directory),
        ["step"] = past.Commit.Step,
        ["time"] = past.Time,
        ["loss"] = past.Commit.Loss,
        ["gradientNorm"] = past.Commit.GradientNorm,
        ["checkpointStep"] = past.State.CheckpointStep,
        ["epoch"] = past.State.Placement.Epoch,
        ["term"] = past.State.Term,
        ["branch"] = past.State.Branch,
        ["peers"] = new JsonArray([.. past.State.View(default).Select(member => Peer(past, member.Profile.Peer, member.Profile.Address, member.Stage, member.State))]),
    };

    static JsonObject Peer(PastStep past, PeerId peer, string address, int stage, MemberState state)
    {
        StageSlice slice = past.State.Placement.Slices[stage];
        return new JsonObject
        {
            ["peer"] = peer.ToString(),
            ["name"] = peer.Short,
            ["address"] = address,
            ["stage"] = stage,
            ["firstBlock"] = slice.FirstBlock,
            ["lastBlock"] = slice.FirstBlock + slice.BlockCount - 1,
            ["state"] = state.ToString().ToLowerInvariant(),
            ["summed"] = past.Summed(peer),
        };
    }

    public static void Print(JsonObject s, TextWriter text)
    {
        text.WriteLine(FormattableString.Invariant($"run     {s["run"]}"));
        text.WriteLine(FormattableString.Invariant($"step    {s["step"]}, committed {DateTimeOffset.Parse((string)s["time"]!, CultureInfo.InvariantCulture):yyyy-MM-dd HH:mm:ss} UTC; newest checkpoint {s["checkpointStep"]}; epoch {s["epoch"]}, term {s["term"]}{((int)s["branch"]! > 0 ? $", rolled back {s["branch"]} times" : "")}"));
        text.WriteLine(FormattableString.Invariant($"loss    {(double)s["loss"]!:F4}; gradient norm {(double)s["gradientNorm"]!:F2}"));
        text.WriteLine();
        text.WriteLine("stage  blocks   peer      state     summed  address");
        foreach (JsonNode? peer in s["peers"]!.AsArray())
        {
            string blocks = FormattableString.Invariant($"{peer!["firstBlock"]}-{peer["lastBlock"]}");
            text.WriteLine(FormattableString.Invariant($"{peer["stage"],5}  {blocks,-7}  {peer["name"],-8}  {peer["state"],-8}  {peer["summed"],6}  {peer["address"]}"));
        }
    }
}
