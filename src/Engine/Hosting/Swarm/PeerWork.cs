// A peer's work: one compute thread that owns the stage, the kept codes, and the page-locked slots that payloads arrive in
// and leave from. Everything the compute thread finishes is posted back to the peer's loop.
using System.Globalization;
using OrionNative.Engine.Control;
using OrionNative.Engine.Pipeline;
using OrionNative.Engine.Pipeline.Schedule;
using OrionNative.Engine.Run;
using OrionNative.Kernels;
using OrionNative.Net.Framing;

namespace OrionNative.Engine.Hosting.Swarm;

[System.Diagnostics.CodeAnalysis.SuppressMessage("Usage", "CA2213", Justification = "the pool's memory must outlive every transport that may still read it: it goes with the process")]
sealed partial class PeerWork : IDisposable
{
    const int GrantsPerLane = 6;
    const int BulkGrants = 4;
    const int UnderWayMost = 3;
    const int FailureSeconds = 1;
    const int NotCalled = -1;

    readonly RunDescription _run;
    readonly PeerId _self;
    readonly Mailbox<LoopEvent> _loop;
    readonly Func<Dictionary<PeerId, PeerLink>> _links;
    readonly Action<Action<PeerCore>> _step;
    readonly Func<PeerEffects> _effects;
    readonly Func<Instant> _now;
    readonly Action<string> _log;
    readonly double _rehearseSeconds;
    readonly HangDrill? _drill;
    readonly IDevice _device;
    readonly PinnedPool _pool;
    readonly Mailbox<ComputeItem> _queue = new();
    readonly Thread _thread;
    readonly TaskClock _clock = new();
    readonly Queue<UnderWay> _underWay = new(UnderWayMost + 1);
    StageWorker? _stage;
    long _busyTicks;
    long _backwards;
    uint _sendSerial;
    volatile int _life;   // counts states given up; written on the loop

    public PeerWork(
        RunDescription run, PeerHostOptions options, PeerId self, Mailbox<LoopEvent> loop, Func<Dictionary<PeerId, PeerLink>> links,
        Action<Action<PeerCore>> step, Func<PeerEffects> effects, Func<Instant> now)
    {
        (_run, _self, _loop, _links, _step, _effects, _now, _log) = (run, self, loop, links, step, effects, now, options.Log);
        (_rehearseSeconds, _drill) = (options.RehearseSeconds, options.Drill);
        Payload = CodePayload.Of(run.Model, run.Config);
        Schedule = RunSegments.ScheduleOf(run.Model, run.Config);
        _sendSerial = self.Mark();   // two peers that send the same microbatch under the same attempt are not one sender
        _device = Devices.Open(options.Device, options.Threads);
        _pool = new PinnedPool(PoolOf(Payload, run.Config));
        _stateDirectory = options.StateDirectory;
        unsafe
        {
            _device.Transfers.LockHost((nint)_pool.Memory, (long)_pool.Bytes);
        }

        Sends = new PayloadSends(_loop);
        MemoryBytes = options.MemoryBytes > 0 ? options.MemoryBytes : _device.MemoryBytes;
        // who says how fast a peer is says it beside the others: that is no figure of its device
        double peak = options.Speed > 0 ? 0 : Devices.PeakFlops(options.Device, options.Threads);
        PeakFlops = double.IsFinite(peak) ? peak : 0;
        Speed = options.Speed > 0 ? options.Speed : PeakFlops > 0 ? PeakFlops / 1e9 : 1;
        _device.Transfers.Reached = Wake;
        _thread = new Thread(Compute) { IsBackground = true, Name = "orion compute" };
        _thread.Start();
    }

    // the holders of this stage and of the two beside it are linked
    static SlotClass[] PoolOf(in CodePayload payload, RunConfig run)
    {
        int links = 3 * (run.Replicas + ControlSettings.SpareReplicas);
        return
        [
            new SlotClass((nuint)payload.ForwardBytes, (links * GrantsPerLane) + (8 * run.Microbatches)),
            new SlotClass(BulkTransfer.PieceBytes, links * BulkGrants),
        ];
    }

    /// <summary>Bytes of the slots that payloads and pieces arrive in and leave from.</summary>
    public static long PoolBytes(ModelConfig model, RunConfig run) => (long)PinnedPool.BytesFor(PoolOf(CodePayload.Of(model, run), run));

    public CodePayload Payload { get; }

    public KeptCodes Kept { get; } = new();

    /// <summary>Codes and code gradients on their way to neighbours.</summary>
    public PayloadSends Sends { get; }

    /// <summary>Limits and patience of this peer's schedule.</summary>
    public ScheduleSettings Schedule { get; }

    /// <summary>Memory that this machine offers for a stage.</summary>
    public long MemoryBytes { get; }

    /// <summary>True where the device has a memory of its own.</summary>
    public bool IsApart => _device.IsApart;

    /// <summary>Speed beside other peers, for placement and the cut: the device's peak (measured on the CPU, a card's published
    /// one) in GFLOP/s, or what the operator says.</summary>
    public double Speed { get; }

    /// <summary>FLOP/s that the device reaches; 0: not known.</summary>
    public double PeakFlops { get; }

    void Compute()
    {
        while (!_queue.IsEnded)
        {
            bool isBusy = _underWay.Count > 0;
            long began = TimeProvider.System.GetTimestamp();
            // a reached mark wakes the thread; a device that failed wakes nobody, so the marks are looked at now and then
            bool taken = _queue.TryTake(out ComputeItem item, isBusy ? TimeSpan.FromSeconds(FailureSeconds) : Timeout.InfiniteTimeSpan);
            began = isBusy ? began : TimeProvider.System.GetTimestamp();
            if (taken && item.Do is { } work)
            {
                FinishReached(most: 0);
                Began(item.Task);
                work();
                Ended();
            }
            else if (taken && item.Stage is not null)
            {
                Begin(item);
            }

            FinishReached(UnderWayMost);
            Interlocked.Add(ref _busyTicks, TimeProvider.System.GetElapsedTime(began).Ticks);
        }

        FinishReached(most: 0);
    }

    void Began(ComputeTask task)
    {
        lock (_clock)
        {
            _clock.Began(task, _now());
        }

        if (_drill is { } drill && drill.Strikes(task))
        {
            Hang(drill, task);
        }
    }

    // apart from Began, which every microbatch calls: a closure is made where its variables begin
    void Hang(HangDrill drill, ComputeTask task)
    {
        string text = string.Create(CultureInfo.InvariantCulture, $"rehearses a failure: its compute thread hangs for {drill.Lasts.TotalSeconds:F1} s ({new OpenTask(task, default, default).Words})");
        _log(text);
        _loop.Add(LoopEvent.Of(() => Orchestrator?.Tell(ControlCodec.Encode<PeerMessage>(ControlTag.FromPeer, new PeerMessage.Says(text)))));
        Thread.Sleep(drill.Lasts);
    }

    void Ended()
    {
        lock (_clock)
        {
            _clock.Ended(_now());
        }
    }

    /// <summary>What the compute thread is at.</summary>
    public OpenTask Look()
    {
        lock (_clock)
        {
            return _clock.Look(_now());
        }
    }

    // on a thread of the device: a mark is reached, and the compute thread finishes what it stands for
    void Wake() => _queue.Add(default);

    // A microbatch is called while the one before computes; on the CPU every mark is reached and nothing is ever under way.
    void FinishReached(int most)
    {
        while (_underWay.TryPeek(out UnderWay first) && (_underWay.Count > most || _device.Transfers.IsReached(first.Mark)))
        {
            _device.Transfers.Wait(first.Mark);
            _underWay.Dequeue();
            Finish(first);
        }
    }

    /// <summary>What the compute thread has done, and what this process has allocated.</summary>
    public PeerCounts Counts => new()
    {
        BusySeconds = Interlocked.Read(ref _busyTicks) / 1e7,
        Microbatches = _backwards,
        AllocatedBytes = GC.GetTotalAllocatedBytes(),
        CodeBytes = Sends.Taken.Code,
        GradientBytes = Sends.Taken.Gradient,
    };

    /// <summary>Runs work on the compute thread; what it returns runs on the loop, unless the state was given up meanwhile.</summary>
    void OnCompute(ComputeTask task, Func<Action?> work)
    {
        int life = _life;
        _queue.Add(new ComputeItem
        {
            Task = task,
            Do = () =>
            {
                if (life == _life && work() is { } done)
                {
                    PostIfAlive(life, done);
                }
            },
        });
    }

    /// <summary>Runs on the loop, unless the state was given up meanwhile.</summary>
    void PostIfAlive(int life, Action what) => _loop.Add(LoopEvent.Of(() =>
    {
        if (life == _life)
        {
            what();
        }
    }));

    /// <summary>Calls the compute of a microbatch; its end is a <see cref="LoopEventKind.Computed"/>.</summary>
    public void Compute(in PeerEffect effect)
    {
        _sumVersion += effect.Compute == ComputeKind.Forward ? 0 : 1;
        KeptMicrobatch kept = Kept.Of(effect.Step, effect.Microbatch);
        StageWorker stage = _stage!;
        kept.Output ??= NeedsOutput(stage) ? Rent(Payload.ForwardBytes) : null;
        kept.InputGradient ??= effect.Compute != ComputeKind.Forward && !stage.Range.HasEmbedding ? Rent(Payload.CodeBytes) : null;
        ComputeItem item = new()
        {
            Stage = stage,
            Kind = effect.Compute,
            Step = effect.Step,
            Microbatch = effect.Microbatch,
            Life = _life,
            IdsBytes = kept.IdsBytes,
            Input = kept.Input,
            Output = kept.Output,
            OutputGradient = kept.OutputGradient,
            InputGradient = kept.InputGradient,
        };
        item.ShareSlots();
        _queue.Add(item);
    }

    // the core waits for the end of a compute even when its state was given up meanwhile; then nothing is computed
    void Begin(in ComputeItem item)
    {
        Began(ComputeTask.Microbatch);
        long began = TimeProvider.System.GetTimestamp();
        int called = item.Life == _life ? Call(item) : NotCalled;
        _underWay.Enqueue(new UnderWay(_device.Transfers.Mark(), item, called, began));
    }

    unsafe int Call(in ComputeItem item)
    {
        StageWorker stage = item.Stage!;
        if (stage.Range.HasEmbedding && item.Kind != ComputeKind.Backward)
        {
            RequireIds(item);
        }

        byte* input = DataOf(item.Input), output = DataOf(item.Output);
        if (item.Kind != ComputeKind.Backward)
        {
            stage.Forward(item.Microbatch, input, output);
        }

        return item.Kind == ComputeKind.Forward ? NotCalled
            : stage.Backward(item.Microbatch, input, output, DataOf(item.OutputGradient), DataOf(item.InputGradient));
    }

    static unsafe byte* DataOf(Slot? slot) => slot is null ? null : slot.Data;

    void Finish(in UnderWay done)
    {
        ComputeItem item = done.Item;
        double loss = done.Called == NotCalled ? 0 : item.Stage!.LossOf(done.Called);
        Rehearse(item.Kind, done.Began);
        Ended();
        _backwards += item.Kind == ComputeKind.Forward ? 0 : 1;
        item.ReleaseSlots();
        _loop.Add(new LoopEvent(LoopEventKind.Computed)
        {
            Compute = item.Kind,
            Loss = loss,
            Message = new WorkMessage(WorkKind.Status, new WorkId(0, item.Step, item.Microbatch, 0, 0)),
        });
    }

    void Rehearse(ComputeKind kind, long began)
    {
        double share = kind == ComputeKind.Forward ? 1.0 / 3 : kind == ComputeKind.Backward ? 2.0 / 3 : 1;
        TimeSpan rest = TimeSpan.FromSeconds(_rehearseSeconds * share) - TimeProvider.System.GetElapsedTime(began);
        if (rest > TimeSpan.Zero)
        {
            Thread.Sleep(rest);
        }
    }

    static bool NeedsOutput(StageWorker stage) => !stage.Range.HasHead || stage.Range.HasEmbedding;

    Slot Rent(int bytes) =>
        _pool.TryRent((nuint)bytes, out Slot slot) ? slot
            : throw new InvalidOperationException(string.Create(CultureInfo.InvariantCulture, $"no slot of {bytes} bytes is free: the schedule keeps more codes than {_run.Config.Microbatches} microbatches need"));

    public void ResetGradients()
    {
        StageWorker? stage = _stage;
        _sumVersion++;
        OnCompute(ComputeTask.Clear, () =>
        {
            stage?.Gradients.Clear();
            return null;
        });
    }

    public void ReleaseStep(int step) => Kept.Release(step);

    /// <summary>Gives up the state; work under way ends unheard.</summary>
    public void Forget()
    {
        _life++;
        _sumVersion++;
        Kept.Clear();
        AbandonReduce();
        HoldShares(0);
        ReleaseShares(int.MaxValue);
        _given.Clear();
    }

    // ---- payloads on links ----

    public MessageHeader HeaderOf(in WorkMessage message)
    {
        bool isForward = message.Kind == WorkKind.Forward;
        return new MessageHeader
        {
            Run = RunNumber,
            Epoch = (uint)message.Work.Epoch,
            Step = (uint)message.Work.Step,
            Microbatch = (uint)message.Work.Microbatch,
            Part = ++_sendSerial,
            Stage = (ushort)message.Work.Stage,
            Attempt = (ushort)message.Work.Attempt,
            Kind = isForward ? MessageKind.Code : MessageKind.CodeGradient,
            PayloadBytes = (ulong)(isForward ? Payload.ForwardBytes : Payload.CodeBytes),
        };
    }

    /// <summary>The run's number in message headers.</summary>
    public UInt128 RunNumber { get; init; }

    public static WorkMessage MessageOf(in MessageHeader header) => new(
        header.Kind == MessageKind.Code ? WorkKind.Forward : WorkKind.Gradient,
        new WorkId((int)header.Epoch, (int)header.Step, (int)header.Microbatch, header.Stage, header.Attempt));

    /// <summary>Lengths are checked before a byte of payload is taken.</summary>
    public Answer Admit(in MessageHeader header)
    {
        bool fits = header.Kind switch
        {
            MessageKind.Code => header.PayloadBytes == (ulong)Payload.ForwardBytes,
            MessageKind.CodeGradient => header.PayloadBytes == (ulong)Payload.CodeBytes,
            MessageKind.Weights or MessageKind.PseudoGradient or MessageKind.Checkpoint => header.PayloadBytes <= BulkTransfer.PieceBytes,
            _ => false,
        };
        return fits ? Answer.Accepted : Answer.Refused(Refusal.WrongShape);
    }

    public void GrantTo(PeerLink link)
    {
        for (int i = 0; i < GrantsPerLane; i++)
        {
            GrantOne(link, Lane.Forward);
            GrantOne(link, Lane.Backward);
        }

        for (int i = 0; i < BulkGrants; i++)
        {
            link.Grant(Rent(BulkTransfer.PieceBytes), Lane.Bulk);
        }
    }

    public void GrantOne(PeerLink link, Lane lane) => link.Grant(Rent(Payload.ForwardBytes), lane);

    /// <inheritdoc/>
    public void Dispose()
    {
        _queue.Close();
        _thread.Join();
        _stage?.Dispose();
        _files.Dispose();
        unsafe
        {
            _device.Transfers.UnlockHost((nint)_pool.Memory);
        }

        _device.Dispose();
    }
}
