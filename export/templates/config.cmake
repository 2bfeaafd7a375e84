# The model @name@, @precision@, for @target@. Written by kdpinn_edge @version@.
#
#     find_package(@name@ CONFIG REQUIRED PATHS <this folder>)   or   add_subdirectory(<this folder>)
#     target_link_libraries(app PRIVATE kdpinn::@name@)
if(TARGET kdpinn::@name@)
  get_target_property(kdpinn_folder kdpinn::@name@ INTERFACE_INCLUDE_DIRECTORIES)
  get_filename_component(kdpinn_taken "${kdpinn_folder}" REALPATH)
  get_filename_component(kdpinn_here "${CMAKE_CURRENT_LIST_DIR}" REALPATH)
  if(NOT kdpinn_taken STREQUAL kdpinn_here)
    message(FATAL_ERROR "kdpinn::@name@ is already the model in ${kdpinn_folder}; expected: one bundle of this name")
  endif()
  return()
endif()
@each shared@
add_library(kdpinn::@name@ SHARED IMPORTED)
set_target_properties(kdpinn::@name@ PROPERTIES
  IMPORTED_LOCATION "${CMAKE_CURRENT_LIST_DIR}/@linked@"
  IMPORTED_SONAME "@soname@"
  INTERFACE_INCLUDE_DIRECTORIES "${CMAKE_CURRENT_LIST_DIR}")
@end@
@each dll@
add_library(kdpinn::@name@ SHARED IMPORTED)
set_target_properties(kdpinn::@name@ PROPERTIES
  IMPORTED_LOCATION "${CMAKE_CURRENT_LIST_DIR}/@library@"
  IMPORTED_IMPLIB "${CMAKE_CURRENT_LIST_DIR}/@name@.lib"
  INTERFACE_INCLUDE_DIRECTORIES "${CMAKE_CURRENT_LIST_DIR}")
@end@
@each static@
add_library(kdpinn::@to_link@ STATIC IMPORTED)
set_target_properties(kdpinn::@to_link@ PROPERTIES
  IMPORTED_LOCATION "${CMAKE_CURRENT_LIST_DIR}/@archive@"
  INTERFACE_INCLUDE_DIRECTORIES "${CMAKE_CURRENT_LIST_DIR}")
@end@
@each source@
enable_language(C)
add_library(kdpinn_@name@ STATIC "${CMAKE_CURRENT_LIST_DIR}/@library@")
set_target_properties(kdpinn_@name@ PROPERTIES
  C_STANDARD 99
  C_VISIBILITY_PRESET hidden
  POSITION_INDEPENDENT_CODE ON
  INTERFACE_INCLUDE_DIRECTORIES "${CMAKE_CURRENT_LIST_DIR}")
add_library(kdpinn::@name@ ALIAS kdpinn_@name@)
@end@
@each libm@
if(NOT MSVC)
  target_link_libraries(kdpinn_@name@ PUBLIC m)
endif()
@end@
