// The end of a step as one peer sees it coming: a gradient share travels before the orchestrator asks for it.
//   fed         stage 0: everything is given out and taken up;   later stages: every holder of the stage before said AllHanded
//   AllHanded   fed, and the next stage has accepted all that is here: told to the next stage once a step
//   offer       fed, and everything here is in the sum: the share goes to the replicas under the name of what it holds
// All of it is a hint. A peer that is lost later lets more work come; then the sum grows, and Reduce asks for a share of another
// name, which is sent when it is asked for. Nothing is sealed here, so the host stops sending a sum that changes under way.
using OrionNative.Engine.Control;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Pipeline.Schedule;

sealed partial class PeerSchedule
{
    int _givenOutStep;
    bool _isAllHanded;
    ulong _offeredShare;

    /// <summary>To holders of stage 0: nothing of the step is left to be given.</summary>
    public void HandleGivenOut(int step, Instant now, PeerEffects effects)
    {
        _givenOutStep = step;
        Advance(now, effects);
    }

    void HandleAllHanded(PeerId from, int step)
    {
        if (_neighbourIndex.TryGetValue(from, out int i))
            _neighbours[i].AllHandedStep = step;
    }

    bool IsFed
    {
        get
        {
            if (Stage == 0)
                return _givenOutStep == Step && _waitingGrants.Count == 0 && _granted.Next(0) < 0;
            foreach (ref readonly Neighbour neighbour in _neighbours.AsSpan())
            {
                if (neighbour.Member.Stage == Stage - 1 && neighbour.Member.State != MemberState.Joining && neighbour.AllHandedStep != Step)
                    return false;
            }
            return true;
        }
    }

    void Conclude(PeerEffects effects)
    {
        if (!_isAllHanded && !IsLastStage && IsEverythingHeld())
            TellAllHanded(effects);
        if (!IsComputing && _inFlight == 0)
            OfferShare(effects);
    }

    bool IsEverythingHeld()
    {
        foreach (ref readonly Entry entry in _entries.AsSpan())
        {
            if (entry.Own is not (Own.None or Own.Superseded) && entry.Hand != Leg.Held)
                return false;
        }
        return true;
    }

    void TellAllHanded(PeerEffects effects)
    {
        _isAllHanded = true;
        foreach (ref readonly Neighbour neighbour in _neighbours.AsSpan())
        {
            if (neighbour.IsLinked && neighbour.Member.Stage == Stage + 1)
                Send(neighbour.Member.Peer, new WorkMessage(WorkKind.AllHanded, Work(0, Stage + 1, 0)), effects);
        }
    }

    // A newcomer that still loads takes part in the next step's sum, not in this one's.
    void OfferShare(PeerEffects effects)
    {
        if (_contributed.Next(0) < 0 || !_placement.TryFind(_self, out Member self))
            return;
        ulong name = GradientShare.NameOf(self.AdmittedEpoch, Generation, _contributed);
        if (name == _offeredShare)
            return;
        _offeredShare = name;
        foreach (Member member in _placement.Members)
        {
            if (member.State != MemberState.Joining)
                GiveShare(member, name, effects);
        }
    }

    void GiveShare(in Member replica, ulong name, PeerEffects effects)
    {
        if (replica.Stage == Stage && replica.Peer != _self)
            effects.Add(new PeerEffect(PeerEffectKind.GiveShare) { Peer = replica.Peer, Step = Step, ShareName = name });
    }
}
