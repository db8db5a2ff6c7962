// The state of a stage: loaded from the seed, a checkpoint or a living replica, and stepped.
using System.Globalization;
using System.Text;
using OrionNative.Engine.Control;
using OrionNative.Engine.Model;
using OrionNative.Engine.Pipeline;
using OrionNative.Engine.Run;
using OrionNative.Engine.Training;
using OrionNative.Net.Framing;

namespace OrionNative.Engine.Hosting.Swarm;

sealed partial class PeerWork
{
    static readonly TimeSpan _nextPieceWithin = TimeSpan.FromSeconds(60);

    sealed record IncomingState(PeerId From, ulong Tag, BulkAssembly Parts)
    {
        public TaskCompletionSource Whole { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public bool Is(PeerId from, in MessageHeader header) => header.Kind == MessageKind.Weights && from == From && header.Tag == Tag;
    }

    IncomingState? _incomingState;   // written by whoever fetches, read by a transport's thread
    volatile int _appliedStep = -1;
    volatile int _stageIndex;
    int _admittedEpoch;
    uint _stateSerial;

    // ---- load ----

    public void Load(Placement placement, Member self, int step, PeerId source)
    {
        Forget();
        _appliedStep = -1;
        _stageIndex = self.Stage;
        _admittedEpoch = self.AdmittedEpoch;
        StageRange range = RunSegments.Range(_run.Model, placement.Slices[self.Stage]);
        _log($"holds stage {self.Stage} ({range}) on {_device.Name}; takes the state of step {step} from {(source.IsNone ? step == 0 ? "the seed" : "the checkpoint" : source.Short)}");
        int slots = RunSegments.WorkerSlots(Schedule, self.Stage);
        MemoryPlan plan = StageWorker.Plan(_run.Model, range, _run.Config, _device, slots);
        lock (_clock)
        {
            // the plan has two gradients of four bytes a parameter
            TaskEstimates.Set(_clock, plan.Gradients / 8, _run.Model, _run.Config, Speed, _device.Transfers.IsApart);
        }

        OnCompute(ComputeTask.Load, () =>
        {
            if (TooLittleMemory(range, plan) is { } shortage)
            {
                return () => Loaded(step, shortage);
            }

            if (_stage?.Range != range)
            {
                _stage?.Dispose();
                _stage = new StageWorker(_run.Model, range, _run.Config, _device, slots);
            }

            _stage.Gradients.Clear();
            _stage.ForgetActivations();
            if (!source.IsNone)
            {
                return () => _ = FetchState(source, step);
            }

            if (step > 0)
            {
                return () => _ = LoadCheckpoint(step);
            }

            _stage.Initialize(_run.Config.Seed);
            return () => Loaded(step, "");
        });
    }

    // Said before anything is allocated, with this device's own plan.
    string? TooLittleMemory(StageRange range, in MemoryPlan plan)
    {
        long needed = RunSegments.NeededBytes(plan, (long)_pool.Bytes, _run.Config.Replicas, _device.Transfers.IsApart);
        return needed <= MemoryBytes ? null : string.Create(CultureInfo.InvariantCulture,
            $"stage {_stageIndex} ({range}) needs {ModelCosts.Size(needed)} on {_device.Name} ({plan}; slots and shares {(needed - plan.Total) / 1e6:F1} MB), this peer offers {ModelCosts.Size(MemoryBytes)}");
    }

    async Task FetchState(PeerId source, int step)
    {
        int life = _life;
        string failure = $"{source.Short} is not connected";
        for (int attempt = 0; attempt < 100 && life == _life; attempt++)
        {
            if (await LinkTo(source) is { } link)
            {
                failure = await TryFetchState(link, source, step, life);
                if (failure.Length == 0)
                {
                    break;
                }
            }

            await Task.Delay(200);
        }

        PostLoaded(life, step, failure);
    }

    // links are the loop's
    Task<PeerLink?> LinkTo(PeerId peer)
    {
        TaskCompletionSource<PeerLink?> found = new(TaskCreationOptions.RunContinuationsAsynchronously);
        _loop.Add(LoopEvent.Of(() => found.SetResult(_links().TryGetValue(peer, out PeerLink? link) && link.Connection is not null ? link : null)));
        return found.Task;
    }

    async Task<string> TryFetchState(PeerLink link, PeerId source, int step, int life)
    {
        uint serial = Interlocked.Increment(ref _stateSerial);
        using BulkAssembly parts = new(StateBytes());
        IncomingState incoming = new(source, TagOf(step, serial), parts);
        Volatile.Write(ref _incomingState, incoming);
        try
        {
            byte[] ask = [(byte)ControlTag.StateAsked, .. BitConverter.GetBytes(step), .. BitConverter.GetBytes(serial)];
            Response response = await link.RequestAsync(ask, TimeSpan.FromSeconds(10));
            if (response.Status != 0)
            {
                return $"{source.Short} says: {Encoding.UTF8.GetString(response.Body)}";
            }

            await Arrival(incoming.Whole.Task, parts);
            // also when the state was given up meanwhile: what has arrived is freed behind it
            TaskCompletionSource written = new(TaskCreationOptions.RunContinuationsAsynchronously);
            _queue.Add(new ComputeItem
            {
                Task = ComputeTask.Fill,
                Do = () =>
                {
                    if (life == _life)
                    {
                        WriteState(parts);
                    }

                    written.SetResult();
                },
            });
            await written.Task;
            return "";
        }
        catch (Exception error) when (error is IOException or TimeoutException)
        {
            return error.Message;
        }
        finally
        {
            Interlocked.CompareExchange(ref _incomingState, null, incoming);
        }
    }

    static ulong TagOf(int step, uint serial) => ((ulong)(uint)step << 32) | serial;

    // A large state may take hours; what counts is that it goes on.
    static async Task Arrival(Task whole, BulkAssembly assembly)
    {
        for (long missing = long.MaxValue; !whole.IsCompleted && assembly.MissingBytes < missing;)
        {
            missing = assembly.MissingBytes;
            await Task.WhenAny(whole, Task.Delay(_nextPieceWithin));
        }

        if (!whole.IsCompleted)
        {
            throw new TimeoutException($"{assembly.MissingBytes} of {assembly.Bytes} bytes of the state are missing, and nothing more came for {_nextPieceWithin.TotalSeconds:F0} s");
        }
    }

    long StateBytes() => _stage!.State.Sum(tensor => tensor.Count * sizeof(float));

    unsafe void WriteState(BulkAssembly assembly)
    {
        long offset = 0;
        foreach (StateTensor tensor in _stage!.State)
        {
            tensor.Write(0, new ReadOnlySpan<float>(assembly.Data + offset, (int)tensor.Count));
            offset += tensor.Count * sizeof(float);
        }
    }

    unsafe BulkAssembly ReadState()
    {
        BulkAssembly copy = new(StateBytes());
        long offset = 0;
        foreach (StateTensor tensor in _stage!.State)
        {
            tensor.Read(0, new Span<float>(copy.Data + offset, (int)tensor.Count));
            offset += tensor.Count * sizeof(float);
        }

        return copy;
    }

    void Loaded(int step, string failure)
    {
        _appliedStep = failure.Length == 0 ? step : -1;
        HoldShares(failure.Length == 0 ? _stage!.Gradients.Bytes : 0);
        _step(core => core.HandleLoaded(step, failure, _now(), _effects()));
    }

    /// <summary>Sends the state of the end of a step to a replica that asks; returns why not, or "".</summary>
    public string SendState(PeerLink link, int step, uint serial)
    {
        if (_appliedStep != step)
        {
            return $"stands at step {_appliedStep}, not {step}";
        }

        OnCompute(ComputeTask.Copy, () =>
        {
            _ = Stream(link, ReadState(), step, serial);
            return null;
        });
        return "";
    }

    async Task Stream(PeerLink link, BulkAssembly copy, int step, uint serial)
    {
        using BulkAssembly sent = copy;
        MessageHeader header = new() { Run = RunNumber, Kind = MessageKind.Weights, Step = (uint)step, Stage = (ushort)_stageIndex, Attempt = (ushort)serial, Tag = TagOf(step, serial) };
        await BulkTransfer.SendAsync(link, _pool, header, copy.Bytes, (offset, slot, size) => CopyPiece(copy, offset, slot, size));
    }

    static unsafe Task<bool> CopyPiece(BulkAssembly from, long offset, Slot slot, int size)
    {
        Buffer.MemoryCopy(from.Data + offset, slot.Data, (long)slot.CapacityBytes, size);
        return Task.FromResult(true);
    }

    /// <summary>A piece of a transfer arrived; called on a transport's thread. False: nobody waits for it.</summary>
    public bool TakePiece(PeerId from, in MessageHeader header, Slot slot)
    {
        if (header.Kind == MessageKind.PseudoGradient)
        {
            return TakeShare(from, header, slot);
        }

        if (Volatile.Read(ref _incomingState) is not { } incoming || !incoming.Is(from, header))
        {
            return false;
        }

        if (incoming.Parts.Take((int)header.Part, slot.Span((int)header.PayloadBytes)))
        {
            incoming.Whole.TrySetResult();
        }

        return true;
    }

    // ---- apply ----

    public void Apply(int step, double scale)
    {
        StageWorker stage = _stage!;
        _reduce = null;
        _sumVersion++;
        OnCompute(ComputeTask.Apply, () =>
        {
            stage.Apply(step, scale);
            // replicas of a stage must hold the same bits after every step; 0 means that there is nobody to compare with
            ulong hash = _run.Config.Replicas > 1 ? stage.HashWeights() | 1 : 0;
            return () =>
            {
                _appliedStep = step;
                ReleaseShares(step);
                _step(core => core.Schedule.HandleApplied(step, hash, _now(), _effects()));
            };
        });
    }
}
