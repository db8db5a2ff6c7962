// What a peer's compute thread is at and for how long: its heartbeats say it, and the orchestrator tells a hang by it.
//   a task hangs when   lasted > max(least, factor * usual)          (ControlSettings.PatienceWith)
// Usual is the peer's own time, so that a slow peer is not a hung one, or a careful estimate while it has none (TaskClock).
namespace OrionNative.Engine.Control;

enum ComputeTask : byte
{
    None,

    /// <summary>A forward, a backward or a replay.</summary>
    Microbatch,

    /// <summary>The shares of a reduction, added up.</summary>
    Sum,

    /// <summary>A piece of the own sum, copied for a replica.</summary>
    Share,

    /// <summary>The optimizer step.</summary>
    Apply,

    /// <summary>The gradient sum, set to zero.</summary>
    Clear,

    /// <summary>Memory for a stage, and its weights from the seed.</summary>
    Load,

    /// <summary>A state that was fetched, put into the stage.</summary>
    Fill,

    /// <summary>A copy of the state for a newcomer.</summary>
    Copy,

    /// <summary>This stage's files of a checkpoint.</summary>
    Save,
}

/// <param name="Task">None: the thread waits for work.</param>
/// <param name="Lasted">Since it began, or since the process last stood still.</param>
/// <param name="Usual">What such a task takes this peer; zero: nobody knows.</param>
readonly record struct OpenTask(ComputeTask Task, TimeSpan Lasted, TimeSpan Usual)
{
    public string Words => Task switch
    {
        ComputeTask.Microbatch => "a microbatch",
        ComputeTask.Sum => "the sum of a reduction",
        ComputeTask.Share => "giving its share of a sum",
        ComputeTask.Apply => "an optimizer step",
        ComputeTask.Clear => "clearing its gradients",
        ComputeTask.Load => "making room for its stage",
        ComputeTask.Fill => "taking over a state",
        ComputeTask.Copy => "copying its state",
        ComputeTask.Save => "writing a checkpoint",
        _ => "nothing",
    };
}
