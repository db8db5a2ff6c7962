// Who contributed what to the uncommitted step, and who was given what to start.
//   covered:  every (stage, microbatch) is in some living peer's gradient sum
//   exact:    in one sum only       -> the step may be reduced
// Where sums overlap, RebuildPlan keeps each microbatch in the fuller sum (ties: the lower peer id), so that the least is
// computed again. Shares are listed by stage, then peer id: the order of summation does not depend on who was faster.
using OrionNative.Engine.Run;

namespace OrionNative.Engine.Control;

sealed class StepTable(int step, int stageCount, int microbatchCount)
{
    sealed class Share(int stage, int microbatchCount)
    {
        public readonly int Stage = stage;
        public int Generation;
        public MicrobatchSet Contributed = new(microbatchCount);
    }

    readonly SortedDictionary<PeerId, Share> _shares = [];
    readonly int[,] _cover = new int[stageCount, microbatchCount];
    readonly PeerId[] _grantedTo = new PeerId[microbatchCount];
    readonly int[] _attempts = new int[microbatchCount];
    readonly double[] _losses = new double[microbatchCount];
    int _missing = stageCount * microbatchCount;
    int _overlaps;

    // Grows over all peers: a rebuild that crosses with a peer's report is told apart from the one that follows it.
    int _lastGeneration;

    public int Step => step;

    public bool IsCovered => _missing == 0;

    public bool IsExact => IsCovered && _overlaps == 0;

    /// <summary>Mean loss over the step's microbatches, summed in microbatch order.</summary>
    public double Loss => _losses.Sum() / microbatchCount;

    /// <summary>False if the report is of an undone generation or says nothing new.</summary>
    public bool TryContribute(PeerId peer, int stage, int generation, int microbatch, double loss)
    {
        Share share = ShareOf(peer, stage);
        if (share.Generation != generation || !share.Contributed.Add(microbatch))
            return false;
        Cover(stage, microbatch, +1);
        if (stage == stageCount - 1)
            _losses[microbatch] = loss;
        return true;
    }

    /// <summary>Takes a peer's own account of the step in place of what was heard from it before.</summary>
    public void SetReport(PeerId peer, int stage, StepReport report)
    {
        Remove(peer);
        Share share = ShareOf(peer, stage);
        share.Generation = report.Generation;
        _lastGeneration = Math.Max(_lastGeneration, report.Generation);
        for (int m = report.Contributed.Next(0); m >= 0; m = report.Contributed.Next(m + 1))
            TryContribute(peer, stage, report.Generation, m, stage == stageCount - 1 ? report.Losses[m] : 0);
        for (int m = report.Held.Next(0); stage == 0 && m >= 0; m = report.Held.Next(m + 1))
        {
            if (_grantedTo[m].IsNone)
                Grant(peer, m);
        }
    }

    /// <summary>The peer's sum is lost; what it was given to start may be given again.</summary>
    public void Remove(PeerId peer)
    {
        if (_shares.Remove(peer, out Share? share))
            Uncover(share);
        // Also what another peer has covered: that peer may be lost next.
        for (int m = 0; m < microbatchCount; m++)
        {
            if (_grantedTo[m] == peer)
                _grantedTo[m] = PeerId.None;
        }
    }

    /// <summary>What the peer was given to start and has not finished may be given again.</summary>
    public void TakeBack(PeerId peer)
    {
        for (int m = 0; m < microbatchCount; m++)
        {
            if (_grantedTo[m] == peer && _cover[0, m] == 0)
                _grantedTo[m] = PeerId.None;
        }
    }

    /// <summary>Peers whose sums must be made again, with what is to stay in them. Their contributions no longer count
    /// until they report the new generation.</summary>
    public List<(PeerId Peer, int Generation, MicrobatchSet Keep)> RebuildPlan()
    {
        var plan = new List<(PeerId, int, MicrobatchSet)>();
        for (int stage = 0; stage < stageCount; stage++)
        {
            var claimed = new MicrobatchSet(microbatchCount);
            foreach ((PeerId peer, Share share) in _shares.Where(s => s.Value.Stage == stage).OrderByDescending(s => s.Value.Contributed.Count).ToArray())
            {
                MicrobatchSet keep = share.Contributed.Without(claimed);
                claimed.UnionWith(keep);
                if (keep.SameAs(share.Contributed))
                    continue;
                Uncover(share);
                share.Contributed.Clear();
                share.Generation = ++_lastGeneration;
                plan.Add((peer, share.Generation, keep));
            }
        }
        return plan;
    }

    /// <summary>Microbatches that a stage has in some sum.</summary>
    public int CoveredAt(int stage)
    {
        int count = 0;
        for (int m = 0; m < microbatchCount; m++)
            count += _cover[stage, m] > 0 ? 1 : 0;
        return count;
    }

    public List<GradientShare> Shares()
    {
        var shares = new List<GradientShare>();
        for (int stage = 0; stage < stageCount; stage++)
        {
            foreach ((PeerId peer, Share share) in _shares)
            {
                if (share.Stage == stage && share.Contributed.Count > 0)
                    shares.Add(new GradientShare(peer, stage, share.Generation, share.Contributed.Copy()));
            }
        }
        return shares;
    }

    public bool HasShare(PeerId peer) => _shares.TryGetValue(peer, out Share? share) && share.Contributed.Count > 0;

    public int GenerationOf(PeerId peer) => _shares.TryGetValue(peer, out Share? share) ? share.Generation : 0;

    /// <summary>The lowest stage that misses the microbatch, or -1.</summary>
    public int LowestMissing(int microbatch)
    {
        for (int stage = 0; stage < stageCount; stage++)
        {
            if (_cover[stage, microbatch] == 0)
                return stage;
        }
        return -1;
    }

    public PeerId Contributor(int stage, int microbatch)
    {
        foreach ((PeerId peer, Share share) in _shares)
        {
            if (share.Stage == stage && share.Contributed.Contains(microbatch))
                return peer;
        }
        return PeerId.None;
    }

    public PeerId GrantedTo(int microbatch) => _grantedTo[microbatch];

    public int NextUngranted(int from)
    {
        for (int m = from; m < microbatchCount; m++)
        {
            if (_grantedTo[m].IsNone && _cover[0, m] == 0)
                return m;
        }
        return -1;
    }

    public int UngrantedCount
    {
        get
        {
            int count = 0;
            for (int m = NextUngranted(0); m >= 0; m = NextUngranted(m + 1))
                count++;
            return count;
        }
    }

    /// <summary>Gives the microbatch to a holder of stage 0; returns the attempt, which starts at 1.</summary>
    public int Grant(PeerId peer, int microbatch)
    {
        _grantedTo[microbatch] = peer;
        return ++_attempts[microbatch];
    }

    public int AttemptOf(int microbatch) => _attempts[microbatch];

    /// <summary>Given to the peer and not in its sum yet.</summary>
    public int Outstanding(PeerId peer)
    {
        int count = 0;
        for (int m = 0; m < microbatchCount; m++)
            count += _grantedTo[m] == peer && _cover[0, m] == 0 ? 1 : 0;
        return count;
    }

    Share ShareOf(PeerId peer, int stage)
    {
        if (!_shares.TryGetValue(peer, out Share? share))
            _shares[peer] = share = new Share(stage, microbatchCount);
        return share;
    }

    void Uncover(Share share)
    {
        for (int m = share.Contributed.Next(0); m >= 0; m = share.Contributed.Next(m + 1))
            Cover(share.Stage, m, -1);
    }

    void Cover(int stage, int microbatch, int change)
    {
        ref int cover = ref _cover[stage, microbatch];
        _missing -= cover == 0 ? 1 : 0;
        _overlaps -= Math.Max(0, cover - 1);
        cover += change;
        _missing += cover == 0 ? 1 : 0;
        _overlaps += Math.Max(0, cover - 1);
    }
}
