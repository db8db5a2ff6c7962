namespace OrionNative.Engine.Training;

/// <summary>What one inner step did.</summary>
/// <param name="Step">Counted from 1: the number of steps done.</param>
/// <param name="Loss">Mean nats per predicted token, before the update.</param>
/// <param name="LearningRate">Rate of this step.</param>
/// <param name="GradientNorm">Global norm before clipping.</param>
/// <param name="Tokens">Tokens predicted in this step.</param>
/// <param name="Seconds">Wall time of this step, data included.</param>
readonly record struct StepResult(long Step, double Loss, double LearningRate, double GradientNorm, long Tokens, double Seconds);
