// The nativecr command.
#include <cstdio>

int main() {
  std::puts("nativecr " NCR_VERSION);
  return 0;
}
