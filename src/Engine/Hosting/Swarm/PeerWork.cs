// A peer's work: one compute thread that owns the stage, the kept codes, and the page-locked slots that payloads arrive in
// and leave from. Everything the compute thread finishes is posted back to the peer's loop.
using System.Collections.Concurrent;
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
    const int LinksMax = 24;
    const int UnderWayMost = 3;
    const int FailureSeconds = 1;
    const int NotCalled = -1;

    readonly RunDescription _run;
    readonly PeerId _self;
    readonly Action<Action> _post;
    readonly Func<Dictionary<PeerId, PeerLink>> _links;
    readonly Action<Action<PeerCore>> _step;
    readonly Func<PeerEffects> _effects;
    readonly Func<Instant> _now;
    readonly Action<string> _log;
    readonly double _rehearseSeconds;
    readonly IDevice _device;
    readonly PinnedPool _pool;
    readonly BlockingCollection<Action> _queue = new(new ConcurrentQueue<Action>());
    readonly Thread _thread;
    readonly Queue<(long Mark, Action Finish)> _underWay = new();
    readonly Action _nothing = () => { };
    StageWorker? _stage;
    long _busyTicks;
    long _backwards;
    uint _sendSerial;
    int _life;

    public PeerWork(
        RunDescription run, PeerHostOptions options, PeerId self, Action<Action> post, Func<Dictionary<PeerId, PeerLink>> links,
        Action<Action<PeerCore>> step, Func<PeerEffects> effects, Func<Instant> now)
    {
        (_run, _self, _post, _links, _step, _effects, _now, _log) = (run, self, post, links, step, effects, now, options.Log);
        _rehearseSeconds = options.RehearseSeconds;
        Payload = CodePayload.Of(run.Model, run.Config);
        Schedule = new ScheduleSettings { StageCount = run.Config.Stages, MicrobatchCount = run.Config.Microbatches, CodeBytes = Payload.ForwardBytes };
        _device = Devices.Open(options.Device, options.Threads);
        int codeSlots = (LinksMax * GrantsPerLane) + (8 * run.Config.Microbatches);
        _pool = new PinnedPool(new SlotClass((nuint)Payload.ForwardBytes, codeSlots), new SlotClass(BulkTransfer.PieceBytes, LinksMax * BulkGrants));
        _stateDirectory = options.StateDirectory;
        unsafe
        {
            _device.Transfers.LockHost((nint)_pool.Memory, (long)_pool.Bytes);
        }

        MemoryBytes = options.MemoryBytes > 0 ? options.MemoryBytes : _device.MemoryBytes;
        double measured = options.Speed > 0 ? options.Speed : Devices.PeakFlops(options.Device, options.Threads) / 1e9;
        Speed = double.IsFinite(measured) ? measured : 1;
        _device.Transfers.Reached = Wake;
        _thread = new Thread(Compute) { IsBackground = true, Name = "orion compute" };
        _thread.Start();
    }

    public CodePayload Payload { get; }

    public KeptCodes Kept { get; } = new();

    /// <summary>Limits and patience of this peer's schedule.</summary>
    public ScheduleSettings Schedule { get; }

    /// <summary>Memory that this machine offers for a stage.</summary>
    public long MemoryBytes { get; }

    /// <summary>Speed beside other peers, for placement and the cut: the device's peak (measured on the CPU, a card's published
    /// one) in GFLOP/s, or what the operator says.</summary>
    public double Speed { get; }

    void Compute()
    {
        while (!_queue.IsCompleted)
        {
            bool isBusy = _underWay.Count > 0;
            long began = TimeProvider.System.GetTimestamp();
            // a reached mark wakes the thread; a device that failed wakes nobody, so the marks are looked at now and then
            bool taken = _queue.TryTake(out Action? work, isBusy ? TimeSpan.FromSeconds(FailureSeconds) : Timeout.InfiniteTimeSpan);
            began = isBusy ? began : TimeProvider.System.GetTimestamp();
            if (taken)
            {
                work!();
            }

            FinishReached(UnderWayMost);
            Interlocked.Add(ref _busyTicks, TimeProvider.System.GetElapsedTime(began).Ticks);
        }

        FinishReached(most: 0);
    }

    // on a thread of the device: a mark is reached, and the compute thread finishes what it stands for
    void Wake()
    {
        try
        {
            _queue.Add(_nothing);
        }
        catch (InvalidOperationException)
        {
            // the peer is closing: the thread waits for every mark by itself
        }
    }

    // A microbatch is called while the one before computes; on the CPU every mark is reached and nothing is ever under way.
    void FinishReached(int most)
    {
        while (_underWay.TryPeek(out (long Mark, Action Finish) first) && (_underWay.Count > most || _device.Transfers.IsReached(first.Mark)))
        {
            _device.Transfers.Wait(first.Mark);
            _underWay.Dequeue();
            first.Finish();
        }
    }

    /// <summary>What the compute thread has done, and what this process has allocated.</summary>
    public PeerCounts Counts => new()
    {
        BusySeconds = Interlocked.Read(ref _busyTicks) / 1e7,
        Microbatches = _backwards,
        AllocatedBytes = GC.GetTotalAllocatedBytes(),
    };

    /// <summary>Runs work on the compute thread; what it returns runs on the loop, unless the state was given up meanwhile.</summary>
    void OnCompute(Func<Action?> work)
    {
        int life = _life;
        _queue.Add(() =>
        {
            FinishReached(most: 0);
            if (life != _life)
            {
                return;
            }

            if (work() is { } done)
            {
                _post(() =>
                {
                    if (life == _life)
                    {
                        done();
                    }
                });
            }
        });
    }

    public unsafe void Compute(PeerEffect effect)
    {
        (ComputeKind kind, int step, int microbatch) = (effect.Compute, effect.Step, effect.Microbatch);
        KeptMicrobatch kept = Kept.Of(step, microbatch);
        StageWorker stage = _stage!;
        kept.Output ??= NeedsOutput(stage) ? new HeldSlot(Rent(Payload.ForwardBytes)) : null;
        kept.InputGradient ??= kind != ComputeKind.Forward && !stage.Range.HasEmbedding ? new HeldSlot(Rent(Payload.CodeBytes)) : null;
        HeldSlot? input = kept.Input, output = kept.Output, outputGradient = kept.OutputGradient, inputGradient = kept.InputGradient;
        int life = _life;
        HeldSlot[] used = [.. new[] { input, output, outputGradient, inputGradient }.OfType<HeldSlot>()];
        Array.ForEach(used, slot => slot.Hold());
        // the core waits for the end of a compute even when its state was given up meanwhile; then nothing is computed
        _queue.Add(() =>
        {
            long began = TimeProvider.System.GetTimestamp();
            int called = life == _life ? Work() : NotCalled;
            _underWay.Enqueue((_device.Transfers.Mark(), () =>
            {
                double loss = called == NotCalled ? 0 : stage.LossOf(called);
                Rehearse(kind, began);
                _backwards += kind == ComputeKind.Forward ? 0 : 1;
                Array.ForEach(used, slot => slot.Release());
                _post(() => _step(core => core.Schedule.HandleComputed(kind, step, microbatch, loss, _now(), _effects())));
            }
            ));
        });

        int Work()
        {
            if (stage.Range.HasEmbedding && kind != ComputeKind.Backward)
            {
                RequireIds(kept, step, microbatch);
            }

            byte* from = input is null ? null : input.Slot.Data;
            byte* to = output is null ? null : output.Slot.Data;
            if (kind != ComputeKind.Backward)
            {
                stage.Forward(microbatch, from, to);
            }

            return kind == ComputeKind.Forward ? NotCalled : stage.Backward(
                microbatch, from, to, outputGradient is null ? null : outputGradient.Slot.Data, inputGradient is null ? null : inputGradient.Slot.Data);
        }
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
        OnCompute(() =>
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
        Kept.Clear();
        AbandonReduce();
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
        _queue.CompleteAdding();
        _thread.Join();
        _stage?.Dispose();
        _files.Dispose();
        unsafe
        {
            _device.Transfers.UnlockHost((nint)_pool.Memory);
        }

        _device.Dispose();
        _queue.Dispose();
    }
}
