// A program under compilation by libnvrtc_soft, and the toolchain that compiles it.
#pragma once
#include <string>
#include <utility>
#include <vector>

namespace soft {

enum NvrtcStatus : int {
    NvrtcSuccess = 0,
    NvrtcProgramCreation = 2,
    NvrtcInvalidInput = 3,
    NvrtcInvalidProgram = 4,
    NvrtcInvalidOption = 5,
    NvrtcCompilation = 6,
    NvrtcBuiltinOperation = 7,
};

struct Options {
    int architecture = 80;
    std::string standard = "c++17";
    std::vector<std::string> definitions;
};

struct Program {
    std::string name;
    std::string source;
    std::vector<std::pair<std::string, std::string>> headers;
    std::string log;
    std::string image;
};

// False with a sentence in error for an option that NVRTC does not know or that does not parse.
bool parseOptions(int count, const char* const* texts, Options& options, std::string& error);

NvrtcStatus compile(Program& program, const Options& options);

// What decides the code besides source and options: the prelude, the compiler, the flags.
const std::string& fingerprint();

}  // namespace soft
