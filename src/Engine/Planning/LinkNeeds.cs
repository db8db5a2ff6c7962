// What a peer's access link must carry, and what it can. A peer in the middle sends codes on and code gradients back, and receives as
// much; a transfer is limited by the slower of the sender's upload and the receiver's download; delay is the profile's one-way delay
// with half its jitter. Loss costs more than rates and delays say, and is not predicted.
using OrionNative.Net.Links;

namespace OrionNative.Engine.Planning;

static class LinkNeeds
{
    /// <summary>Bytes per second of one direction; infinity without a limit.</summary>
    public static double Rate(LinkConditions direction) => direction.BitsPerSecond > 0 ? direction.BitsPerSecond / 8 : double.PositiveInfinity;

    /// <summary>Of a transfer between two such peers.</summary>
    public static double BytesPerSecond(LinkProfile link) => Math.Min(Rate(link.Up), Rate(link.Down));

    /// <summary>Bytes of a microbatch in the busier direction of a peer's link.</summary>
    public static long BusyBytes(PlannedRun run) =>
        run.Config.Stages > 2 ? run.ForwardBytes + run.BackBytes : run.Config.Stages == 2 ? Math.Max(run.ForwardBytes, run.BackBytes) : 0;

    /// <summary>On the average, one way.</summary>
    public static double OneWaySeconds(LinkProfile link) =>
        (link.Up.Delay + link.Down.Delay).TotalSeconds / 2 + ((link.Up.Jitter + link.Down.Jitter).TotalSeconds / 4);
}
