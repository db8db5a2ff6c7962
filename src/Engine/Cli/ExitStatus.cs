// What a finished process says to the shell, and which exceptions are a sentence for the user rather than a defect.
using OrionNative.Kernels.Cuda;

namespace OrionNative.Engine.Cli;

static class ExitStatus
{
    public const int Done = 0;
    public const int Failed = 1;
    public const int Usage = 2;
    public const int EnvironmentMissing = 3;
    public const int Interrupted = 130;

    /// <summary>True for failures of the surroundings (disk, memory, files, network, a kernel that does not compile), whose message stands alone. Anything
    /// else is a defect and keeps its stack trace.</summary>
    public static bool IsOperational(Exception error) =>
        error is IOException or InvalidDataException or UnauthorizedAccessException or InsufficientMemoryException or System.Net.Sockets.SocketException
            or PlatformNotSupportedException or KernelCompilationException;
}
