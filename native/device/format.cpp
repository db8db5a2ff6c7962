// printf into a string, for messages only: longer texts are cut.
#include <cstdarg>
#include <cstdio>

#include "device/fault.h"

namespace soft {

std::string format(const char* pattern, ...) {
    va_list arguments;
    va_start(arguments, pattern);
    char text[1024];
    vsnprintf(text, sizeof text, pattern, arguments);
    va_end(arguments);
    return text;
}

}  // namespace soft
