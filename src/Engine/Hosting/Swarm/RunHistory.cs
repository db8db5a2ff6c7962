// A swarm's run as its event log tells it. Every decision is in events.jsonl, so the orchestrator's state at the commit of any
// step is rebuilt by the code with which a killed orchestrator starts again (Orchestrator.Restore); nobody is asked, and the
// run may be over. A directory may hold several logs, one after the other (decision 0082); a log begins with term 1.
using System.Text.Json;
using System.Text.Json.Nodes;
using OrionNative.Engine.Control;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Hosting.Swarm;

/// <summary>A step's commit, and the orchestrator as it was then.</summary>
/// <param name="Time">When, as the log says it.</param>
/// <param name="State">Members, placement, branch, newest checkpoint.</param>
/// <param name="Commit">What was applied, and whose sums it is made of.</param>
sealed record PastStep(string Time, Orchestrator State, DurableRecord.StepCommitted Commit)
{
    /// <summary>Microbatches that a peer's sum brought into the step.</summary>
    public int Summed(PeerId peer) => Commit.Shares.Where(share => share.Peer == peer).Sum(share => share.Microbatches.Count);
}

static class RunHistory
{
    /// <summary>The last commit of a step: after a rollback, the one that counts.</summary>
    /// <param name="events">Lines of events.jsonl, oldest first.</param>
    /// <param name="config">The run's configuration.</param>
    /// <param name="step">From 1.</param>
    /// <exception cref="IOException">No swarm committed such a step.</exception>
    public static PastStep At(IEnumerable<JsonObject> events, RunConfig config, int step)
    {
        List<DurableRecord> records = [];
        (string Time, DurableRecord[] Before, DurableRecord.StepCommitted Commit)? found = null;
        int newest = 0;
        foreach (JsonObject line in events.Where(line => line["record"] is not null))
        {
            if (BeginsLog(line))
            {
                records.Clear();
            }

            DurableRecord record = Read(line);
            records.Add(record);
            if (record is DurableRecord.StepCommitted commit)
            {
                newest = commit.Step;
                found = commit.Step == step ? ((string)line["time"]!, [.. records], commit) : found;
            }
        }

        return found is { } then ? new PastStep(then.Time, Orchestrator.Restore(Settings(config, then.Commit), then.Before), then.Commit)
            : throw new IOException(newest == 0 ? "the log of this run has no committed step: it trained in one process, or it never began"
                : $"the log of this run has no commit of step {step}; its last one is of step {newest}");
    }

    /// <summary>What an event says of a record of the log: its number, and the record's own properties beside it.</summary>
    public static JsonObject Details(long number, string record)
    {
        JsonObject details = new() { ["record"] = number };
        foreach ((string key, JsonNode? value) in JsonNode.Parse(record)!["body"]!.AsObject())
        {
            details[key] = value?.DeepClone();
        }

        return details;
    }

    /// <summary>True for the event of a log's first record; the numbers of records begin anew with it.</summary>
    public static bool BeginsLog(JsonObject line) => (string?)line["event"] == nameof(DurableRecord.TermStarted) && (int?)line["Term"] == 1;

    // the inverse of Details
    static DurableRecord Read(JsonObject line)
    {
        JsonObject body = [];
        foreach ((string key, JsonNode? value) in line.Where(entry => entry.Key is not ("id" or "time" or "event" or "record")))
        {
            body[key] = value?.DeepClone();
        }

        return ControlCodec.Decode<DurableRecord>(JsonSerializer.SerializeToUtf8Bytes(new JsonObject { ["kind"] = (string?)line["event"], ["body"] = body })).Message;
    }

    // what restoring looks at is the shape of a step; admission and patience are of no use to a past one
    static ControlSettings Settings(RunConfig config, DurableRecord.StepCommitted commit) => new()
    {
        Version = "",
        ModelHash = "",
        TokenizerHash = "",
        StageCount = 1 + commit.Shares.Max(share => share.Stage),
        ReplicaCount = config.Replicas,
        MicrobatchCount = commit.Shares[0].Microbatches.Capacity,
        StepCount = config.Steps,
        Model = ModelCosts.Even(1),
        GrantWindow = 1,
    };
}
