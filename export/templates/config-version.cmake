# What find_package(@name@) may take this folder for: versions of kdpinn_edge, and machines.
set(PACKAGE_VERSION "@version@")
if(PACKAGE_VERSION VERSION_EQUAL PACKAGE_FIND_VERSION)
  set(PACKAGE_VERSION_EXACT TRUE)
endif()
if("${PACKAGE_FIND_VERSION}." MATCHES "^@major@\\.(@minor@\\.|$)" AND NOT PACKAGE_VERSION VERSION_LESS PACKAGE_FIND_VERSION)
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
@each machine@
if((CMAKE_SYSTEM_NAME AND NOT CMAKE_SYSTEM_NAME STREQUAL "@system@")
    OR (CMAKE_SYSTEM_PROCESSOR AND NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(@processors@)$"))
  set(PACKAGE_VERSION "${PACKAGE_VERSION} for @target@")
  set(PACKAGE_VERSION_UNSUITABLE TRUE)
endif()
@end@
