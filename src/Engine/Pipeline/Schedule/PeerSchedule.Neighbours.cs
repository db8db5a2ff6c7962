// Neighbours: the peers of the stage before and the stage after. Three ways to lose one, treated differently:
//   closed connection    its unfinished microbatches go elsewhere at once; what it finished still counts
//   silence or overdue   suspected: the same, and it gets nothing until it shows life (overdue: until SuspicionLasts)
//   removed by an epoch  it and its gradient sum are gone: everything of this step that it did is done again
// "Overdue" is relative to the neighbour's own usual time. Being wrong costs work done twice, never a wrong sum.
using OrionNative.Engine.Control;
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Pipeline.Schedule;

sealed partial class PeerSchedule
{
    struct Neighbour
    {
        public Member Member;
        public bool IsLinked;
        public bool IsSilent;
        public Instant OverdueUntil;
        public Instant HeardAt;
        public double UsualHopSeconds;
        public double UsualTransferSeconds;
        public long AcknowledgedBytes;
        public Instant MovedAt;
        public Instant ArrivedAt;
        public Instant IdleAt;
        public int AllHandedStep;
    }

    readonly Dictionary<PeerId, int> _neighbourIndex = [];
    readonly HashSet<PeerId> _linked = [];
    Neighbour[] _neighbours = [];
    Instant _statusAt;
    Instant _tickedAt;

    bool IsLinked(PeerId peer) => !peer.IsNone && _linked.Contains(peer);

    bool IsHealthy(PeerId peer) => _neighbourIndex.TryGetValue(peer, out int i)
        && _neighbours[i] is { IsLinked: true, IsSilent: false } neighbour && neighbour.OverdueUntil == Instant.Zero;

    /// <summary>A new epoch. Work of members that are gone, or came back as newcomers, is done again.</summary>
    public void HandlePlacement(Placement placement, Instant now, PeerEffects effects)
    {
        Placement former = _placement;
        _placement = placement;
        if (placement.TryFind(_self, out Member self))
            Stage = self.Stage;
        _isOnePath = placement.IsOnePath;
        RebuildNeighbours(now);
        foreach (Member member in former.Members)
        {
            bool stays = placement.TryFind(member.Peer, out Member next) && next.AdmittedEpoch == member.AdmittedEpoch;
            if (!stays)
                HandleRemoved(member, now, effects);
        }
        Advance(now, effects);
    }

    void RebuildNeighbours(Instant now)
    {
        var next = new List<Neighbour>();
        foreach (Member member in _placement.Members)
        {
            if (Math.Abs(member.Stage - Stage) != 1 || member.Peer == _self)
                continue;
            bool isKept = _neighbourIndex.TryGetValue(member.Peer, out int i) && _neighbours[i].Member.AdmittedEpoch == member.AdmittedEpoch;
            Neighbour neighbour = isKept ? _neighbours[i] : new Neighbour { HeardAt = now, IsLinked = _linked.Contains(member.Peer) };
            neighbour.Member = member;
            next.Add(neighbour);
        }
        _neighbours = [.. next];
        _neighbourIndex.Clear();
        for (int i = 0; i < _neighbours.Length; i++)
            _neighbourIndex.Add(_neighbours[i].Member.Peer, i);
        PeerId[] senders = Stage >= 0 ? _placement.Routable(Stage) : [];
        int rank = Array.IndexOf(senders, _self);
        _pathfinder.SetSenders(rank < 0 ? senders.Length : rank, senders.Length);
        _pathfinder.SetCandidates(Stage >= 0 && Stage + 1 < _placement.StageCount ? _placement.Routable(Stage + 1) : []);
        foreach (ref readonly Neighbour neighbour in _neighbours.AsSpan())
            _pathfinder.SetSuspected(neighbour.Member.Peer, !IsHealthy(neighbour.Member.Peer));
    }

    void HandleRemoved(Member member, Instant now, PeerEffects effects)
    {
        for (int m = 0; m < _entries.Length; m++)
        {
            ref Entry entry = ref _entries[m];
            if (entry.Hint == member.Peer)
                entry.Hint = PeerId.None;
            if (entry.Downstream == member.Peer && entry.Hand is Leg.Sent or Leg.Held)
                Reroute(ref entry, now);
            if (entry.Upstream == member.Peer && entry.Own is not (Own.None or Own.Superseded))
            {
                TellAdrift(m, effects);
                entry.Upstream = PeerId.None;
                entry.Return = Leg.Idle;
            }
        }
    }

    void TellAdrift(int microbatch, PeerEffects effects)
    {
        foreach (ref readonly Neighbour neighbour in _neighbours.AsSpan())
        {
            if (neighbour.Member.Stage == Stage - 1 && IsHealthy(neighbour.Member.Peer))
                Send(neighbour.Member.Peer, new WorkMessage(WorkKind.Adrift, Work(microbatch, Stage - 1, _entries[microbatch].Attempt)), effects);
        }
    }

    /// <summary>The connection to a peer opened or closed.</summary>
    public void HandleLink(PeerId peer, bool isUp, Instant now, PeerEffects effects)
    {
        if (!(isUp ? _linked.Add(peer) : _linked.Remove(peer)))
            return;
        // a replica whose connection comes (back) may miss this peer's share of the open reduction
        if (isUp && _placement.TryFind(peer, out Member replica))
            GiveSealedShare(replica, effects);
        if (!_neighbourIndex.TryGetValue(peer, out int i))
            return;
        ref Neighbour neighbour = ref _neighbours[i];
        neighbour.IsLinked = isUp;
        neighbour.IsSilent = false;
        neighbour.HeardAt = now;
        (neighbour.AcknowledgedBytes, neighbour.MovedAt) = (0, now);
        if (isUp)
            Recover(ref neighbour, now);
        else
            Lose(ref neighbour, now, effects);
        Advance(now, effects);
    }

    /// <summary>The host measured the link: round trip and payload bandwidth (0: not measured).</summary>
    public void HandleLinkMeasured(PeerId peer, TimeSpan roundTrip, long bytes, TimeSpan transfer)
    {
        _pathfinder.HandleRoundTrip(peer, roundTrip);
        if (bytes > 0)
            _pathfinder.HandleTransfer(peer, bytes, transfer);
    }

    void Heard(PeerId from, Instant now)
    {
        if (!_neighbourIndex.TryGetValue(from, out int i))
            return;
        ref Neighbour neighbour = ref _neighbours[i];
        neighbour.HeardAt = now;
        if (!neighbour.IsSilent)
            return;
        neighbour.IsSilent = false;
        Recover(ref neighbour, now);
    }

    void Recover(ref Neighbour neighbour, Instant now)
    {
        _pathfinder.SetSuspected(neighbour.Member.Peer, !IsHealthy(neighbour.Member.Peer));
        foreach (ref Entry entry in _entries.AsSpan())
        {
            if (entry.Upstream == neighbour.Member.Peer && entry.Return == Leg.Sent)
            {
                entry.Return = Leg.Pending;
                entry.ReturnAt = now;
            }
        }
    }

    // Unfinished microbatches of a lost or suspected neighbour go elsewhere; those that it fed look for another taker.
    void Lose(ref Neighbour neighbour, Instant now, PeerEffects effects)
    {
        PeerId peer = neighbour.Member.Peer;
        _pathfinder.HandleFailed(peer, now);
        _pathfinder.SetSuspected(peer, true);
        for (int m = 0; m < _entries.Length; m++)
        {
            ref Entry entry = ref _entries[m];
            if (entry.Downstream == peer && entry.Hand is Leg.Sent or Leg.Held && entry.Own == Own.Forwarded)
            {
                Cancel(ref entry, m, effects);
                Reroute(ref entry, now);
            }
            else if (entry.Downstream == peer && entry.Hand == Leg.Sent)
            {
                Reroute(ref entry, now);
            }
            if (entry.Upstream == peer && entry.Own is not (Own.None or Own.Superseded))
            {
                TellAdrift(m, effects);
                if (entry.Return == Leg.Sent)
                    entry.Return = Leg.Pending;
            }
        }
    }

    /// <summary>Time passed; call at least every 200 ms. Sends status, notices silence and overdue work.</summary>
    public void HandleTick(Instant now, PeerEffects effects)
    {
        // A process that was itself stopped must not take the others' silence for theirs.
        bool wasStopped = now - _tickedAt > _settings.SilenceLimit / 2;
        ForgetSpeedIfUnused(now - _tickedAt);
        _tickedAt = now;
        if (wasStopped)
            ForgiveAll(now);
        for (int i = 0; i < _neighbours.Length; i++)
        {
            ref Neighbour neighbour = ref _neighbours[i];
            if (neighbour.OverdueUntil != Instant.Zero && now >= neighbour.OverdueUntil)
            {
                neighbour.OverdueUntil = Instant.Zero;
                _pathfinder.SetSuspected(neighbour.Member.Peer, !IsHealthy(neighbour.Member.Peer));
            }
            if (neighbour.IsLinked && !neighbour.IsSilent && now - neighbour.HeardAt > _settings.SilenceLimit)
            {
                neighbour.IsSilent = true;
                Suspect(ref neighbour, Suspicion.Silent, now, effects);
            }
        }
        if (IsWorking && !IsSealed)
            LookForOverdue(now, effects);
        if (now >= _statusAt)
            TellStatus(now, effects);
        Advance(now, effects);
    }

    void ForgiveAll(Instant now)
    {
        _computeStoodStill = true;
        foreach (ref Neighbour neighbour in _neighbours.AsSpan())
            (neighbour.HeardAt, neighbour.MovedAt) = (now, now);
        foreach (ref Entry entry in _entries.AsSpan())
            (entry.SentAt, entry.HeldAt, entry.ReturnAt) = (now, now, now);
    }

    void LookForOverdue(Instant now, PeerEffects effects)
    {
        for (int m = 0; m < _entries.Length; m++)
        {
            ref Entry entry = ref _entries[m];
            if (entry.Hand == Leg.Sent && IsUnanswered(entry.Downstream, entry.IsHandUnderWay, entry.SentAt, now))
                HandleOverdue(ref entry, Suspicion.NoAnswer, now, effects);
            else if (entry.Hand == Leg.Held && entry.Own == Own.Forwarded && now - Instant.Later(entry.HeldAt, IdleAt(entry.Downstream)) > Patience(entry))
                CheckHeld(ref entry, m, now, effects);
            if (entry.Return == Leg.Sent && IsUnanswered(entry.Upstream, entry.IsReturnUnderWay, entry.ReturnAt, now))
                HandleDeafUpstream(ref entry, now, effects);
        }
    }

    // Whoever says that no microbatch waits for its compute has computed this one: what it waits for is not its own to hurry.
    Instant IdleAt(PeerId peer) => _neighbourIndex.TryGetValue(peer, out int i) ? _neighbours[i].IdleAt : Instant.Zero;

    // It speaks but does not take the gradient: perhaps it does not hear us.
    void HandleDeafUpstream(ref Entry entry, Instant now, PeerEffects effects)
    {
        entry.Return = Leg.Pending;
        entry.ReturnAt = now + _settings.RetryAfter;
        if (!_neighbourIndex.TryGetValue(entry.Upstream, out int i) || _neighbours[i].OverdueUntil != Instant.Zero)
            return;
        _neighbours[i].OverdueUntil = now + _settings.SuspicionLasts;
        Suspect(ref _neighbours[i], Suspicion.Deaf, now, effects);
    }

    // Before the hand-over is passed on its holder is at fault; after it the path is asked where the microbatch is.
    void CheckHeld(ref Entry entry, int microbatch, Instant now, PeerEffects effects)
    {
        if (!entry.IsHandedOn)
            HandleOverdue(ref entry, Suspicion.Overdue, now, effects);
        else if (IsHealthy(entry.Downstream))
            SendReattach(ref entry, microbatch, entry.Downstream, now, effects);
    }

    /// <summary>Others find the peer deaf.</summary>
    public void HandleDoubted(PeerId peer, Instant now, PeerEffects effects)
    {
        if (!_neighbourIndex.TryGetValue(peer, out int i) || _neighbours[i].Member.Stage != Stage + 1 || _neighbours[i].OverdueUntil != Instant.Zero)
            return;
        _neighbours[i].OverdueUntil = now + _settings.SuspicionLasts;
        Lose(ref _neighbours[i], now, effects);
        Advance(now, effects);
    }

    TimeSpan Patience(in Entry entry)
    {
        double usual = _neighbourIndex.TryGetValue(entry.Downstream, out int i) ? _neighbours[i].UsualHopSeconds : 0;
        if (usual == 0)
            return _settings.OverdueFirst;
        // Once handed on, the wait covers every stage from there to the end and back.
        double stages = entry.IsHandedOn ? 2 * (_settings.StageCount - Stage) : 1;
        double seconds = Math.Max(_settings.OverdueLeast.TotalSeconds, Math.Max(_settings.OverdueFactor * usual, 2 * entry.ExpectedSeconds)) * stages;
        return TimeSpan.FromSeconds(seconds);
    }

    void HandleOverdue(ref Entry entry, Suspicion why, Instant now, PeerEffects effects)
    {
        if (_neighbourIndex.TryGetValue(entry.Downstream, out int i))
        {
            _neighbours[i].OverdueUntil = now + _settings.SuspicionLasts;
            Suspect(ref _neighbours[i], why, now, effects);
        }
        else
        {
            Reroute(ref entry, now);
        }
    }

    void Suspect(ref Neighbour neighbour, Suspicion why, Instant now, PeerEffects effects)
    {
        effects.Add(new PeerEffect(PeerEffectKind.Tell) { Detail = new PeerMessage.Suspects(neighbour.Member.Peer, why) });
        Lose(ref neighbour, now, effects);
    }

    void MeasureHop(PeerId peer, TimeSpan elapsed)
    {
        if (!_neighbourIndex.TryGetValue(peer, out int i))
            return;
        Average(ref _neighbours[i].UsualHopSeconds, elapsed);
    }

    void TellStatus(Instant now, PeerEffects effects)
    {
        _statusAt = now + _settings.StatusInterval;
        WorkMessage status = WithLoad(new WorkMessage(WorkKind.Status, new WorkId(_placement.Epoch, Step, 0, Stage, 0)), now);
        foreach (ref readonly Neighbour neighbour in _neighbours.AsSpan())
        {
            if (neighbour.IsLinked)
                Send(neighbour.Member.Peer, status, effects);
        }
    }
}
