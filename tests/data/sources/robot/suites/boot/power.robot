*** Test Cases ***
TC1091 Cold Start Takes Less Than A Second
    [Tags]    TC1091    smoke
    Should Be True    812 < 1000

Brown Out Is Logged
    [Tags]    rally:TC1092
    Log    supply fell to 2.7 V
    Should Contain    ${{['reset', 'watchdog']}}    brown-out

Sleep Current
    Skip    the power analyser is not connected
