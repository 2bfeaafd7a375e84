/* python.exe for the library PYTHON_DLL, such as python311.dll. */
#include <wchar.h>

#include <windows.h>

int wmain(int argc, wchar_t **argv)
{
    HMODULE python = LoadLibraryA(PYTHON_DLL);
    int (*run)(int, wchar_t **) = python ? (int (*)(int, wchar_t **))(void *)GetProcAddress(python, "Py_Main") : NULL;

    return run != NULL ? run(argc, argv) : 99;
}
