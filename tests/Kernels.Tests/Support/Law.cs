// A law is checked on random cases; a case that breaks it is shrunk and printed with the seed that replays it.
using FsCheck;

namespace OrionNative.Kernels.Tests.Support;

static class Law
{
    /// <summary>Checks the property on that many cases.</summary>
    public static void Holds(Property property, int cases = 30) =>
        Check.One(Config.QuickThrowOnFailure.WithMaxTest(cases).WithQuietOnSuccess(true), property);
}
