// The state of a stage: loaded from the seed, a checkpoint or a living replica, and stepped.
using System.Collections.Concurrent;
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

    readonly ConcurrentDictionary<(PeerId From, MessageKind Kind, ulong Tag), BulkAssembly> _assemblies = new();
    TaskCompletionSource<BulkAssembly>? _awaitedState;
    int _appliedStep = -1;
    int _stageIndex;
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

    // Said before anything is allocated, with this device's own plan; on a device apart the payloads' slots lie in host memory.
    string? TooLittleMemory(StageRange range, in MemoryPlan plan)
    {
        long buffers = _device.Transfers.IsApart ? 0 : (long)_pool.Bytes + plan.Host;
        return plan.Total + buffers <= MemoryBytes ? null : string.Create(CultureInfo.InvariantCulture,
            $"stage {_stageIndex} ({range}) needs {ModelCosts.Size(plan.Total + buffers)} on {_device.Name} ({plan}; slots of payloads {buffers / 1e6:F1} MB), this peer offers {ModelCosts.Size(MemoryBytes)}");
    }

    async Task FetchState(PeerId source, int step)
    {
        int life = _life;
        string failure = $"{source.Short} is not connected";
        for (int attempt = 0; attempt < 100 && life == _life; attempt++)
        {
            if (_links().TryGetValue(source, out PeerLink? link) && link.Connection is not null)
            {
                failure = await TryFetchState(link, source, step);
                if (failure.Length == 0)
                {
                    break;
                }
            }

            await Task.Delay(200);
        }

        PostLoaded(life, step, failure);
    }

    async Task<string> TryFetchState(PeerLink link, PeerId source, int step)
    {
        uint serial = ++_stateSerial;
        long bytes = StateBytes();
        BulkAssembly assembly = new(bytes);
        ulong tag = ((ulong)(uint)step << 32) | serial;
        TaskCompletionSource<BulkAssembly> awaited = new(TaskCreationOptions.RunContinuationsAsynchronously);
        _awaitedState = awaited;
        _assemblies[(source, MessageKind.Weights, tag)] = assembly;
        try
        {
            byte[] ask = [(byte)ControlTag.StateAsked, .. BitConverter.GetBytes(step), .. BitConverter.GetBytes(serial)];
            Response response = await link.RequestAsync(ask, TimeSpan.FromSeconds(10));
            if (response.Status != 0)
            {
                return $"{source.Short} says: {Encoding.UTF8.GetString(response.Body)}";
            }

            await Arrival(awaited.Task, assembly);
            TaskCompletionSource written = new();
            OnCompute(ComputeTask.Fill, () =>
            {
                WriteState(assembly);
                written.SetResult();
                return null;
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
            _assemblies.TryRemove((source, MessageKind.Weights, tag), out _);
            assembly.Dispose();
        }
    }

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
            BulkAssembly copy = ReadState();
            return () => _ = Stream(link, copy, step, serial);
        });
        return "";
    }

    async Task Stream(PeerLink link, BulkAssembly copy, int step, uint serial)
    {
        MessageHeader header = new() { Run = RunNumber, Kind = MessageKind.Weights, Step = (uint)step, Stage = (ushort)_stageIndex, Attempt = (ushort)serial, Tag = ((ulong)(uint)step << 32) | serial };
        await BulkTransfer.SendAsync(link, _pool, header, copy.Bytes, (offset, slot, size) => CopyPiece(copy, offset, slot, size));
        copy.Dispose();
    }

    static unsafe Task<bool> CopyPiece(BulkAssembly from, long offset, Slot slot, int size)
    {
        Buffer.MemoryCopy(from.Data + offset, slot.Data, (long)slot.CapacityBytes, size);
        return Task.FromResult(true);
    }

    /// <summary>A piece of a transfer arrived; called on a transport's thread.</summary>
    public void TakePiece(PeerId from, in MessageHeader header, Slot slot)
    {
        if (header.Kind == MessageKind.PseudoGradient)
        {
            TakeShare(from, header, slot);
        }
        else if (_assemblies.TryGetValue((from, header.Kind, header.Tag), out BulkAssembly? assembly) && assembly.Take((int)header.Part, slot.Span((int)header.PayloadBytes)))
        {
            _awaitedState?.TrySetResult(assembly);
        }
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
