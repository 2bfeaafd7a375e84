# find_package(@name@ CONFIG REQUIRED PATHS <this folder>), then target_link_libraries(app kdpinn::@name@)
if(NOT TARGET kdpinn::@name@)
  add_library(kdpinn::@name@ SHARED IMPORTED)
  set_target_properties(kdpinn::@name@ PROPERTIES
    IMPORTED_LOCATION "${CMAKE_CURRENT_LIST_DIR}/@library@"
    IMPORTED_IMPLIB "${CMAKE_CURRENT_LIST_DIR}/@name@.lib"
    INTERFACE_INCLUDE_DIRECTORIES "${CMAKE_CURRENT_LIST_DIR}")
endif()
