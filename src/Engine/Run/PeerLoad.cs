namespace OrionNative.Engine.Run;

/// <summary>What a peer says of itself.</summary>
/// <param name="Queued">Microbatches that wait for the compute or are in it.</param>
/// <param name="FreeSlots">Microbatches that it would accept now.</param>
/// <param name="Accepted">Microbatches of its step that it has accepted, the finished ones included.</param>
/// <param name="ServiceNanoseconds">Compute of one microbatch, forward and backward; 0: not measured.</param>
/// <param name="OwedNanoseconds">Compute that it owes for what it has accepted, that which waits for a gradient included.</param>
readonly record struct PeerLoad(int Queued, int FreeSlots, int Accepted, long ServiceNanoseconds, long OwedNanoseconds)
{
    public override string ToString() => $"queued {Queued} free {FreeSlots} accepted {Accepted} service {ServiceNanoseconds / 1000000} ms owed {OwedNanoseconds / 1000000} ms";
}
