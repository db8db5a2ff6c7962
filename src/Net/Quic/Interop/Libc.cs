// Linux sockets as the UDP loop needs them: one call per batch (GSO out, GRO in), ppoll with nanoseconds, eventfd to wake.
// Constants and layouts are those of x86_64 and aarch64 Linux.
using System.Runtime.InteropServices;

namespace OrionNative.Net.Quic.Interop;

static unsafe partial class Libc
{
    public const int AF_INET = 2, AF_INET6 = 10, SOCK_DGRAM = 2, SOCK_NONBLOCK = 0x800, SOCK_CLOEXEC = 0x80000;
    public const int SOL_IP = 0, SOL_SOCKET = 1, SOL_UDP = 17, SOL_IPV6 = 41;
    public const int SO_SNDBUF = 7, SO_RCVBUF = 8, SO_SNDBUFFORCE = 32, SO_RCVBUFFORCE = 33;
    public const int UDP_SEGMENT = 103, UDP_GRO = 104;
    public const int IP_MTU_DISCOVER = 10, IPV6_MTU_DISCOVER = 23, PMTUDISC_PROBE = 3, IPV6_V6ONLY = 26;
    public const int IP_RECVERR = 11, IPV6_RECVERR = 25;
    public const int MSG_DONTWAIT = 0x40, MSG_ERRQUEUE = 0x2000;
    public const short POLLIN = 1, POLLOUT = 4, POLLERR = 8;
    public const int EFD_NONBLOCK = 0x800, EFD_CLOEXEC = 0x80000;
    public const int PR_SET_TIMERSLACK = 29;
    public const int EINTR = 4, EIO = 5, EAGAIN = 11, EINVAL = 22, EMSGSIZE = 90, EADDRINUSE = 98, ENOBUFS = 105, ECONNREFUSED = 111;

    public struct iovec
    {
        public byte* iov_base;
        public nuint iov_len;
    }

    public struct msghdr
    {
        public void* msg_name;
        public uint msg_namelen;
        public iovec* msg_iov;
        public nuint msg_iovlen;
        public void* msg_control;
        public nuint msg_controllen;
        public int msg_flags;
    }

    public struct pollfd
    {
        public int fd;
        public short events, revents;
    }

    public struct timespec
    {
        public long tv_sec, tv_nsec;
    }

    [LibraryImport("libc", SetLastError = true)]
    public static partial int socket(int domain, int type, int protocol);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int close(int fd);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int bind(int fd, void* address, uint length);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int getsockname(int fd, void* address, uint* length);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int setsockopt(int fd, int level, int option, void* value, uint length);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int getsockopt(int fd, int level, int option, void* value, uint* length);

    [LibraryImport("libc", SetLastError = true)]
    public static partial nint sendmsg(int fd, msghdr* message, int flags);

    [LibraryImport("libc", SetLastError = true)]
    public static partial nint recvmsg(int fd, msghdr* message, int flags);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int ppoll(pollfd* fds, nuint count, timespec* timeout, void* signalMask);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int eventfd(uint initial, int flags);

    [LibraryImport("libc", SetLastError = true)]
    public static partial nint read(int fd, void* buffer, nuint bytes);

    [LibraryImport("libc", SetLastError = true)]
    public static partial nint write(int fd, void* buffer, nuint bytes);

    [LibraryImport("libc", SetLastError = true)]
    public static partial int prctl(int option, nuint a, nuint b, nuint c, nuint d);
}
