// The range of a number on the command line: outside of it is a usage error that names option, value and range.
using System.CommandLine;
using System.Globalization;
using System.Numerics;

namespace OrionNative.Engine.Cli;

static class Bounds
{
    /// <summary>Refuses values outside of least to most (both allowed).</summary>
    public static Option<T> Between<T>(this Option<T> option, T least, T most) where T : struct, INumber<T>
    {
        option.Validators.Add(result =>
        {
            // what is no number at all is the parser's to say
            if (result.Tokens is [var token] && T.TryParse(token.Value, CultureInfo.InvariantCulture, out T value) && !(value >= least && value <= most))
            {
                result.AddError(string.Create(CultureInfo.InvariantCulture, $"{option.Name} {value} does not lie between {least} and {most}"));
            }
        });
        return option;
    }
}
