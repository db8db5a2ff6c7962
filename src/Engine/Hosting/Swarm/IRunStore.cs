// Where the orchestrator's decisions are kept. The log is append-only; its state is a function of the records in order.
namespace OrionNative.Engine.Hosting.Swarm;

/// <summary>An append-only log that survives the process.</summary>
interface IRunStore : IDisposable
{
    /// <summary>What the log was begun for; empty in a new one. Set once.</summary>
    string Purpose { get; set; }

    /// <summary>Durable when the call returns. Returns the record's number, from 1 without gaps.</summary>
    long Append(string record);

    /// <summary>Every record, in order.</summary>
    IReadOnlyList<string> ReadAll();
}
