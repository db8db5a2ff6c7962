// The little language of `link emulate`:  [up|down] WORD VALUE
//   rate 100mbit | rate 0 · delay 30ms · jitter 5ms · loss 1% · burst 3 · reorder 1% · duplicate 0.1% · queue 60ms · mtu 1400
//   blackhole up | blackhole down | blackhole both | blackhole off · profile NAME (of one direction if `up` or `down` is before it)
using System.Globalization;
using OrionNative.Engine.Run;
using OrionNative.Net.Links;

namespace OrionNative.Engine.Cli.Link;

static class LinkWords
{
    static readonly string[] _known = ["rate", "delay", "jitter", "loss", "burst", "reorder", "duplicate", "queue", "mtu", "blackhole", "profile"];

    /// <summary>A profile with one change; throws <see cref="ConfigurationException"/> with the words that exist.</summary>
    public static LinkProfile Apply(LinkProfile profile, string line)
    {
        string[] words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        bool up = words is not ["down", ..], down = words is not ["up", ..];
        if (words is ["up" or "down", .. var rest]) words = rest;
        switch (words)
        {
            case ["profile", var name]:
                return LinkProfile.Named.TryGetValue(name, out var named) ? new LinkProfile(up ? named.Profile.Up : profile.Up, down ? named.Profile.Down : profile.Down)
                    : throw new ConfigurationException($"no profile is called '{name}'; there are {string.Join(", ", LinkProfile.Named.Keys)}");
            case ["blackhole", "up" or "down" or "both" or "off"]:
                return new LinkProfile(
                    profile.Up with { Blackhole = words[1] is "up" or "both" },
                    profile.Down with { Blackhole = words[1] is "down" or "both" });
            case ["blackhole", var value]:
                throw new ConfigurationException($"blackhole wants up, down, both or off; got '{value}'");
            case [var word, var value]:
                return new LinkProfile(up ? Change(profile.Up, word, value) : profile.Up, down ? Change(profile.Down, word, value) : profile.Down);
            default:
                throw new ConfigurationException($"'{line}' is not understood; say [up|down] WORD VALUE with one of {string.Join(", ", _known)}, e.g. `loss 1%` or `down delay 80ms`");
        }
    }

    static LinkConditions Change(LinkConditions link, string word, string value) => word switch
    {
        "rate" => link with { BitsPerSecond = Number(word, value, ("gbit", 1e9), ("mbit", 1e6), ("kbit", 1e3), ("", 1)) },
        "delay" => link with { Delay = Time(word, value) },
        "jitter" => link with { Jitter = Time(word, value) },
        "loss" => link with { Loss = Share(word, value) },
        "burst" => link with { LossBurst = Math.Max(1, Number(word, value, ("", 1))) },
        "reorder" => link with { Reorder = Share(word, value) },
        "duplicate" => link with { Duplicate = Share(word, value) },
        "queue" => link with { Queue = Time(word, value) },
        "mtu" => link with { MtuBytes = (int)Number(word, value, ("", 1)) },
        _ => throw new ConfigurationException($"unknown word '{word}'{NearestName.Hint(word, _known)}"),
    };

    static TimeSpan Time(string word, string value) => TimeSpan.FromMilliseconds(Number(word, value, ("ms", 1), ("us", 1e-3), ("s", 1e3)));

    static double Share(string word, string value)
    {
        double share = Number(word, value, ("%", 0.01), ("", 1));
        return share <= 1 ? share : throw new ConfigurationException($"{word} is a share of 0 to 100 %; got '{value}'");
    }

    static double Number(string word, string value, params (string Unit, double Scale)[] units)
    {
        foreach ((string unit, double scale) in units)
        {
            if (!value.EndsWith(unit, StringComparison.OrdinalIgnoreCase)) continue;
            if (double.TryParse(value.AsSpan(0, value.Length - unit.Length), CultureInfo.InvariantCulture, out double number) && number >= 0) return number * scale;
        }
        throw new ConfigurationException($"{word} wants a number with one of the units {string.Join(", ", units.Select(u => u.Unit == "" ? "none" : u.Unit))}; got '{value}'");
    }
}
