// Probes for rare branches: each counts how often the cores went down a path, seen from what they say, so that a campaign can
// tell which paths no seed has taken.
using OrionNative.Engine.Control;

namespace OrionNative.Engine.Simulation;

enum Probe
{
    Busy, Duplicate, StaleEpoch, StaleStep, NotYet, Superseded, Unknown, WrongStage, Adrift, Reattach, Cancel, Handed,
    Rebuild, Reopen, ReduceRefused, RolledBack, Hold, Handover, Recheck, Drained, LeaseExpired, Suspected, HelloWhileReducing,
    CommitResent, OrchestratorRestart, TornEffects, GrantAgain, StateFailed, JoinWhileMember, Doubted,
}

sealed class SwarmProbes
{
    readonly long[] _counts = new long[Enum.GetValues<Probe>().Length];

    public long this[Probe probe] => _counts[(int)probe];

    public IEnumerable<Probe> Unreached => Enum.GetValues<Probe>().Where(p => _counts[(int)p] == 0);

    public void Hit(Probe probe) => _counts[(int)probe]++;

    public void Add(SwarmProbes other)
    {
        for (int i = 0; i < _counts.Length; i++)
            _counts[i] += other._counts[i];
    }

    public void See(in WorkMessage message)
    {
        switch (message.Kind)
        {
            case WorkKind.Answer:
                if (message.Verdict == Verdict.Busy)
                    Hit(Probe.Busy);
                else if (message.Verdict == Verdict.Duplicate)
                    Hit(Probe.Duplicate);
                if (message.Reason is not (RefusalReason.None or RefusalReason.NoSlot))
                    Hit(Enum.Parse<Probe>(message.Reason.ToString()));
                break;
            case WorkKind.Adrift or WorkKind.Reattach or WorkKind.Cancel or WorkKind.Handed:
                Hit(Enum.Parse<Probe>(message.Kind.ToString()));
                break;
            default:
                break;
        }
    }

    public void See(OrchestratorEffect effect, RunPhase phase)
    {
        switch (effect)
        {
            case OrchestratorEffect.Send { Message: OrchestratorMessage.Rebuild }:
                Hit(Probe.Rebuild);
                break;
            case OrchestratorEffect.Send { Message: OrchestratorMessage.Reopen } when phase != RunPhase.Recovering:
                Hit(Probe.Reopen);
                break;
            case OrchestratorEffect.Send { Message: OrchestratorMessage.LoadState { Source.IsNone: false } }:
                Hit(Probe.Handover);
                break;
            case OrchestratorEffect.Send { Message: OrchestratorMessage.Doubted }:
                Hit(Probe.Doubted);
                break;
            case OrchestratorEffect.Send { Message: OrchestratorMessage.Recheck }:
                Hit(Probe.Recheck);
                break;
            case OrchestratorEffect.Send { Message: OrchestratorMessage.Grant { Attempt: > 1 } }:
                Hit(Probe.GrantAgain);
                break;
            case OrchestratorEffect.Send { Message: OrchestratorMessage.Holding { Reason.Length: > 0 } } when phase == RunPhase.Hold:
                Hit(Probe.Hold);
                break;
            case OrchestratorEffect.Persist { Record: DurableRecord.RolledBack }:
                Hit(Probe.RolledBack);
                break;
            case OrchestratorEffect.Persist { Record: DurableRecord.PeerRemoved removed }:
                Hit(removed.Reason == "drained" ? Probe.Drained : removed.Reason == "lease expired" ? Probe.LeaseExpired : Probe.JoinWhileMember);
                break;
            default:
                break;
        }
    }
}
