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

    /// <summary>A link from its name, or from rates and round trip like 856/1322mbit,30-60ms (up/down; or one rate, or one time).</summary>
    /// <exception cref="ConfigurationException">Neither.</exception>
    public static LinkProfile Profile(string text)
    {
        if (LinkProfile.Named.TryGetValue(text, out var named)) return named.Profile;
        string[] parts = text.Split(',');
        if (parts.Length != 2 || !char.IsAsciiDigit(text[0]))
            throw new ConfigurationException($"link '{text}' is neither a profile ({string.Join(", ", LinkProfile.Named.Keys)}) nor rates and round trip like 856/1322mbit,30-60ms{NearestName.Hint(text, LinkProfile.Named.Keys)}");
        string unit = parts[0].TrimStart("0123456789./".ToCharArray());
        string[] rates = parts[0][..^unit.Length].Split('/'), times = parts[1].Split('-');
        LinkProfile link = LinkProfile.Both(new LinkConditions());
        link = Apply(Apply(link, $"up rate {rates[0]}{unit}"), $"down rate {rates[^1]}{unit}");
        TimeSpan least = Time("round trip", times.Length > 1 ? times[0] + times[^1].TrimStart("0123456789.".ToCharArray()) : times[0]), most = Time("round trip", times[^1]);
        if (rates.Length > 2 || times.Length > 2 || most < least)
            throw new ConfigurationException($"link '{text}' wants rates and round trip like 856/1322mbit,30-60ms");
        LinkConditions Delayed(LinkConditions direction) => direction with { Delay = least / 2, Jitter = (most - least) / 2 };
        return new LinkProfile(Delayed(link.Up), Delayed(link.Down));
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
