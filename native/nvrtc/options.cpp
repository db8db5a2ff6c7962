// The options that CUDA 11.8, 12 and 13 all take, so that a program that compiles here does not stumble there.
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "nvrtc/program.h"

namespace soft {

namespace {

// The value of `--name=value`, or null.
const char* valueOf(const char* text, const char* name) {
    const size_t length = strlen(name);
    return strncmp(text, name, length) == 0 && text[length] == '=' ? text + length + 1 : nullptr;
}

// Options that change speed on a card and nothing here.
bool withoutEffect(std::string_view text) {
    for (const char* exact : {"-lineinfo", "--generate-line-info", "--restrict", "-restrict", "-default-device", "--device-as-default-execution-space",
                              "--extra-device-vectorization", "-extra-device-vectorization", "--use_fast_math", "-use_fast_math"})
        if (text == exact) return true;
    for (const char* start : {"--ptxas-options=", "-ftz=", "--ftz=", "-prec-div=", "--prec-div=", "-prec-sqrt=",
                              "--prec-sqrt=", "-fmad=", "--fmad=", "--maxrregcount=", "-maxrregcount="})
        if (text.substr(0, strlen(start)) == start) return true;
    return false;
}

bool parseArchitecture(const char* text, Options& options, std::string& error) {
    const char* digits = strncmp(text, "sm_", 3) == 0 ? text + 3 : strncmp(text, "compute_", 8) == 0 ? text + 8 : nullptr;
    options.architecture = digits ? atoi(digits) : 0;
    if (options.architecture >= 70 && options.architecture <= 130) return true;
    error = std::string("nvrtc: error: invalid value for --gpu-architecture: ") + text;
    return false;
}

}  // namespace

bool parseOptions(int count, const char* const* texts, Options& options, std::string& error) {
    for (int i = 0; i < count; i++) {
        const char* text = texts[i];
        if (withoutEffect(text)) continue;
        const char* value = valueOf(text, "--gpu-architecture");
        if (!value) value = valueOf(text, "-arch");
        if (value) {
            if (!parseArchitecture(value, options, error)) return false;
        } else if ((value = valueOf(text, "--std")) || (value = valueOf(text, "-std"))) {
            options.standard = value;
        } else if ((value = valueOf(text, "--define-macro"))) {
            options.definitions.emplace_back(value);
        } else if (strncmp(text, "-D", 2) == 0 && text[2]) {
            options.definitions.emplace_back(text + 2);
        } else {
            error = std::string("nvrtc: error: unrecognized option ") + text;
            return false;
        }
    }
    return true;
}

}  // namespace soft
